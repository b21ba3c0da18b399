"""The remedies for one assignment: each has a page with a question or a form, and does its work by POST."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.access.models import User
from bursary.access.permissions import Permission
from bursary.assignments import content_display, signed_links
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.dashboard import assignment_page, remedies, timeline_entries
from bursary.dashboard.headers import page_of_user
from bursary.dashboard.remedies import RemedyResult
from bursary.dashboard.remedy_forms import CorrectAddressForm, ExtendForm, SkipForm, suggested_days
from bursary.delivery.emails import deadline_text

_VERBS: Mapping[str, Any] = {
    "cancel": gettext_lazy("Cancel"),
    "correct": gettext_lazy("Correct the address"),
    "extend": gettext_lazy("Extend the deadline"),
    "retry": gettext_lazy("Retry"),
    "revoke-links": gettext_lazy("Revoke e-mail links"),
    "skip": gettext_lazy("Skip"),
}
"""The last breadcrumb of each remedy's page."""


@page_of_user
def remind(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Remind the learner by POST; then show the assignment."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.REMIND)
    if request.method == "POST":
        _say(request, remedies.remind(assignment, now=timezone.now(), actor=user))
    return redirect("assignment", uuid)


@page_of_user
def revoke_links(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Ask whether to revoke an assignment's links in e-mails sent so far; POST revokes them."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.CANCEL)
    if request.method != "POST":
        return _page(request, assignment, "revoke-links", {})
    signed_links.revoke(assignment, now=timezone.now(), actor=user)
    messages.success(request, _("The links in e-mails sent so far no longer work."))
    return redirect("assignment", uuid)


@page_of_user
def cancel(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Ask whether to cancel the assignment, and show the consequences; POST cancels it."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.CANCEL)
    if request.method == "POST":
        _say(request, remedies.cancel(assignment, now=timezone.now(), actor=user))
        return redirect("assignment", uuid)
    consequence = remedies.consequence_of_cancelling(assignment)
    return _page(request, assignment, "cancel", {"consequence": consequence})


@page_of_user
def correct_address(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Ask for the learner's right address; POST corrects it, and sends the invitation there."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.ALLOCATE)
    initial = {"address": assignment.learner_email}
    form = CorrectAddressForm(
        request.POST if request.method == "POST" else None, auto_id="%s", initial=initial
    )
    if form.is_valid():
        address = form.cleaned_data["address"]
        result = remedies.correct(assignment, address=address, now=timezone.now(), actor=user)
        if not result.refused:
            _say(request, result)
            return redirect("assignment", uuid)
        form.add_error("address", result.sentence)
    others = remedies.others_at_its_address(assignment)
    return _page(request, assignment, "correct", {"form": form, "others": others})


@page_of_user
def extend(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Ask for a later deadline; POST extends it. If another date limits it, the user confirms that first."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.ALLOCATE)
    zone = assignment.budget.customer.zone
    days = remedies.days_to_extend_to(assignment, now=timezone.now())
    form = ExtendForm(request.POST if request.method == "POST" else None, auto_id="%s", zone=zone, days=days)
    clipped = agreed = ""
    if form.is_valid():
        asked = {"until": form.cleaned_data["until"], "now": timezone.now(), "actor": user}
        result, extended = remedies.extend(assignment, **asked, dry_run=True)
        if extended and remedies.is_clipped(extended) and request.POST.get("agreed") != str(extended.new):
            clipped, agreed = remedies.clipped_in_words(extended, assignment), str(extended.new)
        elif extended:
            result, _extended = remedies.extend(assignment, **asked)
            _say(request, result)
            return redirect("assignment", uuid)
        else:
            form.add_error("until", result.sentence)
    now = timezone.now()
    later = suggested_days(max(assignment.expires_at, now).astimezone(zone).date())
    context = {"form": form, "clipped": clipped, "agreed": agreed, "deadline": deadline_text(assignment)}
    context |= {"suggested": later, "closed": remedies.closed_to_extension(assignment, now=now, actor=user)}
    return _page(request, assignment, "extend", context)


@page_of_user
def retry(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Show what retrying a failed action does, and how long ago it failed; POST retries it."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.ALLOCATE)
    action = _named_action(request, assignment)
    if request.method == "POST":
        _say(request, remedies.retry(assignment, action_uuid=action.uuid, now=timezone.now(), actor=user))
        return redirect("assignment", uuid)
    now = timezone.now()
    long_ago = timeline_entries.failed_long_ago(action, now=now)
    return _page(request, assignment, "retry", {"action": action, "long_ago": long_ago, "now": now})


@page_of_user
def skip(request: HttpRequest, uuid: UUID, user: User) -> HttpResponse:
    """Ask for the reason to skip a failed action; POST skips it."""
    assignment = assignment_page.permitted(uuid, actor=user, permission=Permission.ALLOCATE)
    action = _named_action(request, assignment)
    form = SkipForm(request.POST if request.method == "POST" else None, auto_id="%s")
    if form.is_valid():
        reason, now = form.cleaned_data["reason"], timezone.now()
        _say(
            request,
            remedies.skip(assignment, action_uuid=action.uuid, reason=reason, now=now, actor=user),
        )
        return redirect("assignment", uuid)
    return _page(request, assignment, "skip", {"action": action, "form": form})


def _named_action(
    request: HttpRequest, assignment: LearnerContentAssignment
) -> LearnerContentAssignmentAction:
    """Return the action that the URL or the form names. Raises Http404."""
    named = request.POST.get("action") or request.GET.get("action", "")
    try:
        return assignment_page.action_of(assignment, UUID(named))
    except ValueError as error:
        raise Http404(assignment_page.NOT_FOUND) from error


def _page(
    request: HttpRequest, assignment: LearnerContentAssignment, remedy: str, context: dict[str, Any]
) -> HttpResponse:
    """Return a remedy's page, with status 422 for an invalid form."""
    content_display.load_shown_content([assignment], now=timezone.now())
    if action := context.get("action"):
        context["sentence"] = timeline_entries.sentence(action, of=assignment)
    refused = bool(getattr(context.get("form"), "errors", None))
    status = HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK
    context |= {"assignment": assignment, "verb": _VERBS[remedy]}
    return render(request, f"dashboard/remedies/{remedy}.html", context, status=status)


def _say(request: HttpRequest, result: RemedyResult) -> None:
    messages.add_message(request, result.level, result.sentence)
