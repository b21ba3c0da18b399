"""One function for each kind of mail. What is sent is rendered when it is sent, and kept on the action:
all but the token of its link, which is the learner's alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import Q
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format

from bursary.assignments import content_display, signed_links
from bursary.assignments.actions import Done, Failure, Postponed, Skipped
from bursary.assignments.choices import ActionType, ErrorReason, ExpiryReason, State, Status
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Customer
from bursary.delivery.errors import address_rejected, mail_errors_translated
from bursary.delivery.smtp_backend import cut_off_after
from bursary.lib.logs import without_tokens

BECAUSE: Mapping[ExpiryReason, str] = {
    ExpiryReason.ALLOCATION_AGE: "after that the assignment expires",
    ExpiryReason.ENROLL_BY: "enrolment closes then",
    ExpiryReason.BUDGET_END: "the budget that pays for it ends then",
    ExpiryReason.DUE_DATE: "your organisation asks for an answer by then",
}
"""The reason for a deadline, as a clause that follows it and a colon."""


_PASSED = "The deadline has passed: nobody is asked for what cannot be taken up any more."
_NEVER_TOLD = Skipped("never_told", "The learner was never told of the assignment.")


@dataclass(frozen=True)
class DeadlineText:
    """A deadline for people: when, in the organisation's time zone, and why."""

    when: str
    because: str


def notify(action: LearnerContentAssignmentAction) -> Done | Postponed:
    """Tell the learner of a new assignment; later, if its deadline has passed and may yet be moved back."""
    if action.assignment.expires_at <= action.modified:
        failure = Failure(ErrorReason.INTERNAL_API_ERROR, "deadline_passed", _PASSED, "")
        return Postponed(failure, until=action.modified + timedelta(hours=2 + action.attempts))
    return _send(action, template="notified")


def remind(action: LearnerContentAssignmentAction) -> Done | Skipped:
    """Remind the learner of an open assignment; nothing, if its deadline has passed meanwhile."""
    if action.assignment.expires_at <= action.modified:
        return Skipped("deadline_passed", "The deadline passed before the reminder went out.")
    return _send(action, template="reminded")


def nudge(action: LearnerContentAssignmentAction) -> Done | Skipped:
    """Tell the learner that the content starts soon; nothing, if it has started meanwhile."""
    starts_at = _starts_at(action.assignment)
    if action.assignment.state == State.ALLOCATED and action.assignment.expires_at <= action.modified:
        return Skipped("deadline_passed", "The deadline passed before the nudge went out.")
    if starts_at is None:
        return Skipped("start_unknown", "Nobody knows any more when it starts.")
    if starts_at <= action.modified:
        return Skipped("started", "It started before the nudge went out.")
    return _send(action, template="nudged")


def notify_of_cancellation(action: LearnerContentAssignmentAction) -> Done | Skipped:
    """Tell the learner that an assignment was cancelled; nothing, if they never heard of it."""
    return _send(action, template="cancellation_notified") if _was_told(action) else _NEVER_TOLD


def notify_of_expiration(action: LearnerContentAssignmentAction) -> Done | Skipped:
    """Tell the learner that the deadline has passed; nothing, if they never heard of it."""
    return _send(action, template="expiration_notified") if _was_told(action) else _NEVER_TOLD


def deadline_in_words(assignment: LearnerContentAssignment) -> DeadlineText:
    """Return the assignment's deadline in its organisation's time zone, with the reason."""
    reason = ExpiryReason(assignment.expires_reason)
    return in_words(assignment.expires_at, reason, customer=assignment.budget.customer)


def in_words(expires_at: datetime, reason: ExpiryReason, *, customer: Customer) -> DeadlineText:
    """Return a deadline in the customer's time zone, with the reason."""
    return DeadlineText(moment_in_words(expires_at, customer=customer), BECAUSE[reason])


def moment_in_words(moment: datetime, *, customer: Customer) -> str:
    """Return a moment in the customer's time zone, which it names."""
    zone = ZoneInfo(customer.time_zone)
    local = timezone.localtime(moment, zone)
    city = zone.key.split("/")[-1].replace("_", " ")
    return f"{date_format(local, 'l, j F Y, H:i')} ({'UTC' if city == 'UTC' else f'{city} time'})"


def assignment_link(action: LearnerContentAssignmentAction) -> str:
    """Return the address at which the action's recipient answers, without signing in.

    For this recipient and as of this attempt: an address that is put right meanwhile opens nothing by it.
    """
    token = signed_links.token_for(action.assignment, address=action.recipient, now=action.modified)
    return f"{settings.BASE_URL}/a/{token}/"


def _starts_at(assignment: LearnerContentAssignment) -> datetime | None:
    """Return when the content starts; where no row of ours says, what was derived at the allocation."""
    if assignment.content:
        return assignment.content.start_date
    return None if assignment.content_start == FAR_FUTURE else assignment.content_start


def _was_told(action: LearnerContentAssignmentAction) -> bool:
    """Tell whether this cycle's first mail went out, is going out, or may have arrived all the same."""
    first = action.assignment.actions.filter(action_type=ActionType.NOTIFIED, cycle=action.cycle)
    return first.filter(Q(status__in=[Status.DONE, Status.RUNNING]) | Q(error_code="answer_lost")).exists()


def _send(action: LearnerContentAssignmentAction, *, template: str) -> Done:
    """Render and send one mail of the timeline. Raises DeliveryError."""
    return send(action.recipient, template=template, context=_context(action), name=str(action.uuid))


def send(recipient: str, *, template: str, context: Mapping[str, object], name: str) -> Done:
    """Render and send one mail; `name` makes its Message-ID. Raises DeliveryError."""
    if recipient.lower().endswith(".invalid"):
        # RFC 2606 reserves the domain: no mail server would ever take it.
        raise address_rejected("Addresses that end in .invalid cannot receive mail.")
    subject = " ".join(render_to_string(f"delivery/{template}.subject.txt", context).split())
    text = render_to_string(f"delivery/{template}.txt", context)
    html = render_to_string(f"delivery/{template}.html", context)
    host = urlsplit(settings.BASE_URL).hostname or "localhost"
    message_id = f"<{name}@{host}>"
    message = EmailMultiAlternatives(
        subject=subject,
        body=text,
        to=[recipient],
        # The same on every attempt: a server that sees it twice may drop the second.
        headers={"Message-ID": message_id, "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(html, "text/html")
    with mail_errors_translated(), cut_off_after(settings.SEND_DEADLINE):
        message.send()
    kept = {"subject": subject, "text": without_tokens(text), "html": without_tokens(html)}
    return Done(provider_ref=message_id, payload=kept)


def _context(action: LearnerContentAssignmentAction) -> dict[str, object]:
    assignment = action.assignment
    content_display.attach_content([assignment], now=action.modified)
    content = assignment.shown_content
    return {
        "organisation": assignment.budget.customer.name,
        "course": content_display.title(assignment),
        "partner": content.partner_names if content else "",
        "starts": _day(content.start_date, assignment.budget.customer) if content else "",
        "accepted": assignment.state == State.ACCEPTED,
        "deadline": deadline_in_words(assignment),
        "link": assignment_link(action),
    }


def _day(moment: datetime | None, customer: Customer) -> str:
    if moment is None:
        return ""
    return date_format(timezone.localtime(moment, ZoneInfo(customer.time_zone)), "l, j F Y")
