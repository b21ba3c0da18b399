"""A learner's pages: GET shows, POST acts. By the link in a mail, or signed in; both show the same."""

from collections.abc import Callable
from http import HTTPStatus
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import DisallowedRedirect
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from bursary.access.links import LinkExpired, LinkRefused, LinkWithdrawn
from bursary.access.models import User
from bursary.assignments import signed_links
from bursary.assignments.choices import Status
from bursary.assignments.declining import DeclineRefused
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.assignments.redemption import RedemptionRefused
from bursary.dashboard import learner_answers
from bursary.dashboard.headers import form_leads_to, page

_TAKEN_UP = {
    Status.DONE: "It is yours. Good learning!",
    Status.FAILED: "That did not work, and nothing was changed. Please try again later.",
}
_AT_IT = "We are at it; look again in a moment."
_DECLINED = "You declined it."
_DECLINED_BEFORE = "You had declined it before."
_NEW_LINK = "A new mail is on its way, to the address that the old one went to."
_NEW_LINK_BEFORE = "A new mail was already sent today. Look for it among unwanted mail, too."


class SeeOther(HttpResponseRedirect):
    """After a POST: the answer is elsewhere, and to be fetched by GET."""

    status_code = HTTPStatus.SEE_OTHER


@page
@csrf_exempt  # whoever has the link may answer: no cookie proves more, and some mail readers keep none
@require_http_methods(["GET", "HEAD", "POST"])
def answer(request: HttpRequest, token: str) -> HttpResponse:
    """Show what a mail's link opens, to whoever has it. POST takes it up, declines, or asks for a new link.

    GET changes nothing: programs that look through mails follow links.
    """
    try:
        response = _answered(request, token) if request.method == "POST" else _shown(request, token)
    except LinkRefused as refused:
        response = _refused(request, refused)
    # Neither the course's site nor a log of ours learns the token from where somebody came. `no-referrer`
    # would do that as well, but browsers then hide the origin of forms, which are refused without it.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def take_up(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Take one's own assignment up, by POST; then go to the course, or show it."""
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    here = reverse("assignment", args=[uuid])
    if request.method != "POST":
        return redirect(here)
    learner = request.user
    return _taking_up(
        request, lambda: learner_answers.accept(uuid, learner=learner, now=timezone.now()), here=here
    )


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def decline(request: HttpRequest, uuid: UUID) -> HttpResponse:
    """Decline one's own assignment, by POST; then show it."""
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    here = reverse("assignment", args=[uuid])
    if request.method != "POST":
        return redirect(here)
    learner, reason = request.user, request.POST.get("reason", "")
    return _declining(
        request,
        lambda: learner_answers.decline(uuid, learner=learner, reason=reason, now=timezone.now()),
        here=here,
    )


def _shown(request: HttpRequest, token: str) -> HttpResponse:
    now = timezone.now()
    invitation = learner_answers.invitation(signed_links.opened(token, now=now), now=now)
    response = render(request, "dashboard/answer.html", {"invitation": invitation})
    return form_leads_to(invitation.leads_to, response=response)


def _answered(request: HttpRequest, token: str) -> HttpResponse:
    here, now = request.path, timezone.now()
    match request.POST.get("answer"):
        case "accept":
            return _taking_up(request, lambda: learner_answers.accept_by_link(token, now=now), here=here)
        case "decline":
            reason = request.POST.get("reason", "")
            return _declining(
                request, lambda: learner_answers.decline_by_link(token, reason=reason, now=now), here=here
            )
        case "new-link":
            asked = signed_links.renew(token, now=now)
            if asked is None:
                return SeeOther(here)  # this one still works
            told = _NEW_LINK if asked else _NEW_LINK_BEFORE
            return render(request, "dashboard/link-renewed.html", {"told": told})
    return SeeOther(here)


def _refused(request: HttpRequest, refused: LinkRefused) -> HttpResponse:
    gone = isinstance(refused, LinkExpired | LinkWithdrawn)
    renewable = False
    if isinstance(refused, LinkExpired):
        try:
            renewable = signed_links.can_be_renewed(refused, now=timezone.now())
        except LinkWithdrawn as withdrawn:
            refused = withdrawn
    context = {"refused": refused, "renewable": renewable}
    status = HTTPStatus.GONE if gone else HTTPStatus.NOT_FOUND
    return render(request, "dashboard/link-refused.html", context, status=status)


def _taking_up(
    request: HttpRequest, take_it_up: Callable[[], LearnerContentAssignmentAction | None], *, here: str
) -> HttpResponse:
    try:
        begun = take_it_up()
    except RedemptionRefused as refused:
        messages.error(request, f"{refused.sentence} {refused.next_step}")
        return SeeOther(here)
    if begun is None:
        raise Http404("There is no such assignment of yours.")
    status = Status(begun.status)
    course_url = learner_answers.course_url(begun.assignment) if status == Status.DONE else ""
    level = messages.ERROR if status == Status.FAILED else messages.SUCCESS
    if course_url:
        try:
            return SeeOther(course_url)
        except (DisallowedRedirect, ValueError):
            pass  # no address that a browser could be sent to: the page says that it is theirs
    messages.add_message(request, level, _TAKEN_UP.get(status, _AT_IT))
    return SeeOther(here)


def _declining(request: HttpRequest, decline_it: Callable[[], bool | None], *, here: str) -> HttpResponse:
    try:
        declined = decline_it()
    except DeclineRefused as refused:
        messages.error(request, f"{refused.sentence} {refused.next_step}")
        return SeeOther(here)
    if declined is None:
        raise Http404("There is no such assignment of yours.")
    messages.success(request, _DECLINED if declined else _DECLINED_BEFORE)
    return SeeOther(here)
