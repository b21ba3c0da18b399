"""A learner's pages, by an e-mail's link or signed in, which show the same. GET shows, POST changes."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from bursary.access import contacts
from bursary.access.links import LinkExpired, LinkRefused, LinkRevoked
from bursary.access.models import User
from bursary.assignments import account_addresses, allocation_batches, declining, signed_links
from bursary.assignments.account_addresses import AccountWithoutAddress, CannotAdd
from bursary.assignments.choices import Status
from bursary.assignments.declining import DeclineRefused
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.redemption import RedemptionRefused
from bursary.budgets.models import Customer
from bursary.dashboard import learner_answers
from bursary.dashboard.headers import page, page_of_user
from bursary.dashboard.overview import own_assignments
from bursary.replica.reads import ContentUnavailable

Find = Callable[[], LearnerContentAssignment]
"""Returns the assignment of the page that follows."""

_ACCEPTED = {
    Status.DONE: gettext_lazy("You have accepted the course. Enjoy it!"),
    Status.FAILED: gettext_lazy("Accepting failed, and nothing has changed. Please try again later."),
}
_ACCEPTING = gettext_lazy("Accepting takes a moment longer than usual. Reload this page in a minute.")
_NEW_LINK = {
    True: gettext_lazy("We are sending a new link to the address of the old one."),
    False: gettext_lazy("We have already sent a new link today. Please look in your spam folder, too."),
}


class SeeOther(HttpResponseRedirect):
    """The response to a POST: a redirect that browsers follow by GET."""

    status_code = HTTPStatus.SEE_OTHER


@page
@csrf_exempt  # the link is the credential, and some mail readers keep no cookies
@require_http_methods(["GET", "HEAD", "POST"])
def answer(request: HttpRequest, token: str) -> HttpResponse:
    """Show the assignment of an e-mail's link. POST accepts it, declines it, or requests a new link.

    GET changes nothing: virus scanners of mailboxes follow links.
    """
    try:
        response = _answered(request, token) if request.method == "POST" else _shown(request, token)
    except LinkRefused as refused:
        response = _refused(request, refused, token=token)
    # Keeps the token from the course's site and from logs. `no-referrer` would do so, too, but browsers then
    # send forms without an origin, which Django refuses.
    response.headers["Referrer-Policy"] = "strict-origin"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@page
@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def add_address(request: HttpRequest, token: str) -> HttpResponse:
    """Ask whether the address of an e-mail's link is also the signed-in user's; POST adds it.

    Unlike `answer`, this needs the session, and with it the CSRF token.
    """
    assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
    now, user, refused, status = timezone.now(), request.user, None, HTTPStatus.OK
    try:
        assignment = signed_links.opened(token, now=now)
        if request.method == "POST":
            account_addresses.add(token, user=user, now=now)
            messages.success(
                request, _("The address is added to your account: its courses are in your list.")
            )
            return SeeOther(reverse("assignment", args=[assignment.uuid]))
        if not user.learner_key:
            raise AccountWithoutAddress
    except LinkRefused as unusable:
        return _refused(request, unusable, token=token)
    except CannotAdd as why:
        refused, status = why, HTTPStatus.UNPROCESSABLE_ENTITY
    context = {"assignment": assignment, "refused": refused}
    return render(request, "dashboard/add_address.html", context, status=status)


@page_of_user
def accept(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Accept the user's own assignment by POST; then redirect to its page, which leads to the course."""
    if request.method != "POST":
        return redirect("assignment", uuid)
    own = _own(user, uuid)
    here = reverse("assignment", args=[uuid])
    return _accept(
        request,
        lambda: learner_answers.accept(own, learner=user, now=timezone.now()),
        find=lambda: own,
        here=here,
    )


@page_of_user
def decline(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Decline the user's own assignment by POST; then redirect to its page."""
    if request.method != "POST":
        return redirect("assignment", uuid)
    own, reason = _own(user, uuid), request.POST.get("reason", "")
    here = reverse("assignment", args=[uuid])
    return _decline(
        request,
        lambda: declining.decline(own, reason=reason, now=timezone.now(), actor=user),
        find=lambda: own,
        here=here,
    )


def _own(user: User, uuid: UUID) -> LearnerContentAssignment:
    assignment = own_assignments(user).filter(uuid=uuid).first()
    if assignment is None:
        raise Http404(_("You have no such assignment."))
    return assignment


def _shown(request: HttpRequest, token: str) -> HttpResponse:
    now = timezone.now()
    assignment = signed_links.opened(token, now=now)
    message = allocation_batches.message_to(assignment)
    invitation = learner_answers.invitation(assignment, message=message, now=now)
    user = request.user
    addable = isinstance(user, User) and account_addresses.can_add(invitation.assignment, user=user)
    context = {
        "invitation": invitation,
        "add_address": reverse("add-address", args=[token]) if addable else "",
    }
    return render(request, "dashboard/answer.html", context)


def _answered(request: HttpRequest, token: str) -> HttpResponse:
    here, now, reason = request.path, timezone.now(), request.POST.get("reason", "")
    page_of: dict[str, Any] = {"find": lambda: signed_links.opened(token, now=now), "here": here}
    match request.POST.get("answer"):
        case "accept":
            return _accept(request, lambda: learner_answers.accept_by_link(token, now=now), **page_of)
        case "decline":
            return _decline(
                request, lambda: learner_answers.decline_by_link(token, reason=reason, now=now), **page_of
            )
        case "new-link":
            renewed = signed_links.renew(token, now=now)
            if renewed is not None:
                context = {"message": _NEW_LINK[renewed]}
                return render(request, "dashboard/link-renewed.html", context)
    return SeeOther(here)  # an unknown answer, or a new link is requested while the old one works


def _refused(request: HttpRequest, refused: LinkRefused, *, token: str) -> HttpResponse:
    renewable, now = False, timezone.now()
    if isinstance(refused, LinkExpired):
        try:
            renewable = signed_links.can_be_renewed(refused, now=now)
        except LinkRevoked as revoked:
            refused = revoked
    return link_refused(request, refused, customer=signed_links.customer_of(token), renewable=renewable)


def link_refused(
    request: HttpRequest, refused: LinkRefused, *, customer: Customer | None, **more: object
) -> HttpResponse:
    """Return the page for a link of the organisation that does not work, with `more` as context."""
    status = HTTPStatus.GONE if isinstance(refused, LinkExpired | LinkRevoked) else HTTPStatus.NOT_FOUND
    context = {
        "refused": refused,
        "organisation": customer.name if customer else "",
        "contact": contacts.contact(customer) if customer else "",
        **more,
    }
    return render(request, "dashboard/link-refused.html", context, status=status)


def _accept(
    request: HttpRequest, redeem: Callable[[], LearnerContentAssignmentAction], *, find: Find, here: str
) -> HttpResponse:
    try:
        action = redeem()
    except RedemptionRefused as refused:
        _say_why(request, refused, of=find())
        return SeeOther(here)
    except ContentUnavailable:
        messages.error(
            request, _("The catalog does not answer, and nothing has changed. Please try again in a minute.")
        )
        return SeeOther(here)
    status = Status(action.status)
    level = messages.ERROR if status == Status.FAILED else messages.SUCCESS
    messages.add_message(request, level, _ACCEPTED.get(status, _ACCEPTING))
    return SeeOther(here)


def _decline(request: HttpRequest, decline: Callable[[], bool], *, find: Find, here: str) -> HttpResponse:
    try:
        declined = decline()
    except DeclineRefused as refused:
        _say_why(request, refused, of=find())
        return SeeOther(here)
    messages.success(
        request, _("You have declined the course.") if declined else _("You have declined the course before.")
    )
    return SeeOther(here)


def _say_why(
    request: HttpRequest, refused: RedemptionRefused | DeclineRefused, *, of: LearnerContentAssignment
) -> None:
    """Show why an answer is refused and the next step, unless the page of the assignment shows it."""
    shown = learner_answers.invitation(of, message="", now=timezone.now())
    below = _("Your answer changed nothing: the reason is below.") if shown.says(refused.sentence) else ""
    unsaid = [text for text in (refused.sentence, refused.next_step) if not shown.says(text)]
    messages.error(request, " ".join(filter(None, [below, *unsaid])))
