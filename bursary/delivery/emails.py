"""One function for each kind of mail. A mail is rendered when it is sent. Its action stores it without the
token of its link: with that, anyone could answer for the learner."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db.models import Q, QuerySet
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext_lazy as _

from bursary.access import contacts, suppressions
from bursary.access.models import SuppressionReason
from bursary.assignments import content_display, derived, learner_accounts, signed_links, unsubscribing
from bursary.assignments.choices import ActionType, ErrorReason, ExpiryReason, State, Status
from bursary.assignments.learner_accounts import AccountEnded
from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.assignments.outcomes import Done, Failure, Postponed, Skipped
from bursary.budgets.models import Customer, NotInUse
from bursary.delivery import mail_connection, suppressed
from bursary.delivery.errors import address_rejected
from bursary.delivery.mail_server import send_recorded
from bursary.delivery.provider_answers import ACTION_KEY, LONGEST_REF
from bursary.delivery.smtp_backend import cut_off_after
from bursary.lib import mailbox, moments
from bursary.lib.logs import without_tokens
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.lib.retries import back_off_ceiling

BECAUSE: Mapping[ExpiryReason, Any] = {
    ExpiryReason.ALLOCATION_AGE: _("after that the assignment expires"),
    ExpiryReason.ENROLL_BY: _("enrolment closes then"),
    ExpiryReason.BUDGET_END: _("the budget that pays for it ends then"),
    ExpiryReason.DUE_DATE: _("the due date that was set"),
    ExpiryReason.EXTENSION: _("it was extended"),
}
"""The reason for a deadline, as a clause that follows it and a colon; a lazy text."""
_TO_LEARNERS = {
    **BECAUSE,
    ExpiryReason.ALLOCATION_AGE: _("after that it cannot be accepted any more"),
    ExpiryReason.DUE_DATE: _("your organisation asks for an answer by then"),
    ExpiryReason.EXTENSION: _("the deadline was extended"),
}

_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")

WAIT_FOR_DEADLINE, LONGER_EACH_TIME = timedelta(hours=2), timedelta(hours=1)
"""The wait of a mail after the deadline, which may still be extended: so long, and longer by each attempt. It
does not double, as a back-off does: within days the assignment expires, or the mail is to be sent soon."""
FIRST_WAIT_FOR_BUDGET, LONGEST_WAIT_FOR_BUDGET = timedelta(days=2), timedelta(days=30)
"""The waits of a mail while its budget is not in use; less than `leases.MAX_DELAY`."""

_UNUSED: Mapping[NotInUse, str] = {
    NotInUse.RETIRED: "The budget is retired, so that the assignment cannot be accepted.",
    NotInUse.INACTIVE: "The budget is switched off, so that the assignment cannot be accepted at present.",
    NotInUse.NOT_YET_OPEN: "The budget is not open yet, so that the assignment cannot be accepted now.",
    NotInUse.ENDED: "The budget has ended, so that the assignment cannot be accepted.",
}


@dataclass(frozen=True)
class DeadlineText:
    """A deadline in words: when, in the organisation's time zone, and why."""

    when: str
    because: str


@dataclass(frozen=True)
class ReadAhead:
    """The values in a mail that are not its assignment's, read for a batch of mails about a second before."""

    contact: str
    message: str
    suppressed_by: Collection[SuppressionReason]


def notify(action: LearnerContentAssignmentAction, *, now: datetime) -> Done | Postponed | Skipped:
    """Send the mail about a new assignment; later, if its deadline has passed and may still be extended."""
    if action.assignment.expires_at <= now:
        passed = "The deadline has passed, so that the assignment cannot be accepted any more."
        failure = Failure(ErrorReason.INTERNAL_API_ERROR, "deadline_passed", passed, "")
        wait = WAIT_FOR_DEADLINE + action.attempts * LONGER_EACH_TIME
        return Postponed(failure, until=now + wait, limited_by=None)
    budget = action.assignment.budget
    if unused := budget.not_in_use(now):
        # Postponed until the budget starts, else with back-off; a change of the budget makes the mail due at
        # once (`assignments.invitations`).
        wait = back_off_ceiling(action.attempts, first=FIRST_WAIT_FOR_BUDGET, longest=LONGEST_WAIT_FOR_BUDGET)
        until = now + wait
        if unused is NotInUse.NOT_YET_OPEN and budget.starts_at:
            until = budget.starts_at
        failure = Failure(ErrorReason.INTERNAL_API_ERROR, "budget_not_in_use", _UNUSED[unused], "")
        return Postponed(failure, until=min(until, now + LONGEST_WAIT_FOR_BUDGET), limited_by=None)
    return _send_to_learner(action, now=now)


def remind(action: LearnerContentAssignmentAction, *, now: datetime) -> Done | Skipped:
    """Send a reminder of an open assignment, unless its deadline has passed meanwhile."""
    if action.assignment.expires_at <= now:
        return Skipped("deadline_passed", "The deadline passed before the reminder was sent.")
    if unused := action.assignment.budget.not_in_use(now):
        return Skipped("budget_not_in_use", _UNUSED[unused])
    return _send_to_learner(action, now=now)


def nudge(action: LearnerContentAssignmentAction, *, now: datetime) -> Done | Skipped:
    """Send the mail that the content starts soon, unless it has started meanwhile.

    Its start is the one that learners read: once the advertised run of a course has started, the next one's.
    """
    assignment = action.assignment
    content_display.load_shown_content([assignment], now=now)
    own_start = content_display.start(assignment)
    starts_at = content_display.starts_of([assignment], now=now)[assignment.pk] or own_start
    if assignment.state == State.ALLOCATED and assignment.expires_at <= now:
        return Skipped("deadline_passed", "The deadline passed before the nudge was sent.")
    unused = assignment.budget.not_in_use(now)
    if assignment.state == State.ALLOCATED and unused:  # an accepted one is paid for
        return Skipped("budget_not_in_use", _UNUSED[unused])
    if starts_at is None:
        return Skipped("start_unknown", "Its start is not known any more.")
    if starts_at <= now:
        return Skipped("started", "It started before the nudge was sent.")
    return _send_to_learner(action, now=now)


def notify_of_end(action: LearnerContentAssignmentAction, *, now: datetime) -> Done | Skipped:
    """Send the mail about a cancellation or expiry, unless the learner was never notified before."""
    if was_notified(action.assignment, cycle=action.cycle):
        return _send_to_learner(action, now=now)
    return Skipped("never_notified", "The learner was never notified of the assignment.")


def read_ahead(actions: Sequence[LearnerContentAssignmentAction]) -> None:
    """Attach what the mails of these actions need besides their rows. Six queries for all of them."""
    assignments = [one.assignment for one in actions]
    if not assignments:
        return
    found = {
        pk: more for pk, *more in _account_ended_and_in_catalog.read(pks=[one.pk for one in assignments])
    }
    contact_of = contacts.contacts_of({one.budget.customer for one in assignments})
    batches = {one.allocation_batch_uuid for one in assignments}
    message_of: dict[UUID | None, str] = dict(_messages.read(batches=batches))
    content_display.load_texts(assignments)
    recipients = {one.pk: (one.assignment.budget.customer_id, one.recipient) for one in actions}
    suppressed_by = suppressions.reasons_of([*recipients.values()])
    for action in actions:
        one = action.assignment
        ahead = ReadAhead(
            contact_of[one.budget.customer.pk],
            message_of.get(one.allocation_batch_uuid, ""),
            suppressed_by[recipients[action.pk]],
        )
        vars(one).update(zip(("account_ended", "in_catalog"), found[one.pk], strict=True), _ahead=ahead)


@PreparedSelect
def _account_ended_and_in_catalog() -> QuerySet[LearnerContentAssignment, Any]:
    """Return, by assignment, whether its learner's account has ended, and its catalog holds the content."""
    pks = Parameter("pks", LearnerContentAssignment._meta.pk)
    rows = LearnerContentAssignment.objects.filter(pk__in=pks).order_by()
    return rows.values_list("pk", learner_accounts.ended_column(), derived.in_catalog())


@PreparedSelect
def _messages() -> QuerySet[AllocationBatch, Any]:
    """Return the messages of these batches."""
    batches = Parameter("batches", AllocationBatch._meta.get_field("uuid"))
    return AllocationBatch.objects.filter(uuid__in=batches).order_by().values_list("uuid", "message")


def was_notified(assignment: LearnerContentAssignment, *, cycle: int) -> bool:
    """Return whether the mail about this cycle's assignment may have reached the learner."""
    first = assignment.actions.filter(action_type=ActionType.NOTIFIED, cycle=cycle)
    # A mail that is being sent, or that got no answer from its server, may have arrived.
    return first.filter(Q(status__in=[Status.DONE, Status.RUNNING]) | Q(error_code="answer_lost")).exists()


def deadline_text(assignment: LearnerContentAssignment, *, to_learner: bool = False) -> DeadlineText:
    """Return the assignment's deadline in its organisation's time zone, with the reason."""
    reason = ExpiryReason(assignment.expires_reason)
    return deadline_text_at(
        assignment.expires_at, reason, customer=assignment.budget.customer, to_learner=to_learner
    )


def deadline_text_at(
    expires_at: datetime, reason: ExpiryReason, *, customer: Customer, to_learner: bool = False
) -> DeadlineText:
    """Return a deadline in the customer's time zone, with the reason: as its learner reads it, or others."""
    because = _TO_LEARNERS if to_learner else BECAUSE
    return DeadlineText(moments.in_words(expires_at, zone=customer.zone), str(because[reason]))


def send(
    recipient: str,
    *,
    template: str,
    context: Mapping[str, object],
    name: str,
    now: datetime,
    failed_before: bool = False,
    replies_to: str = "",
    sender_name: str = "",
    unsubscribe_url: str = "",
) -> Done:
    """Render and send one mail; `name` makes its Message-ID. Raises DeliveryError.

    `failed_before`: an attempt at this mail has failed. `replies_to`: a canonical address; replies to
    mails without one are not read. `sender_name` stands before the sender's address, in place of the usual
    one. `unsubscribe_url` is where a POST unsubscribes from such mails.

    The address is mailed in its canonical form: Django would encode its domain by IDNA 2003.
    """
    address = _mailable(recipient)
    context = {**context, "replies_to": replies_to, "unsubscribe_url": unsubscribe_url}
    subject, text, html = _rendered(template, context)
    message_id = f"<{name}@{urlsplit(settings.BASE_URL).hostname or 'localhost'}>"
    message = EmailMultiAlternatives(
        subject=subject,
        body=text,
        from_email=_sender(sender_name),
        to=[address],
        reply_to=[replies_to] if replies_to else None,
        # The same on every attempt: a server that sees it twice may drop the second.
        headers={"Message-ID": message_id, "Auto-Submitted": "auto-generated"}
        | _unsubscribing(unsubscribe_url),
    )
    message.attach_alternative(html, "text/html")
    message.metadata = {ACTION_KEY: name}  # type: ignore[attr-defined]  # for providers, which report it back
    with send_recorded(now=now, failed_before=failed_before), cut_off_after(settings.SEND_DEADLINE):
        mail_connection.send(message)
    kept = {"subject": subject, "text": without_tokens(text), "html": without_tokens(html)}
    return Done(provider_ref=_provider_ref(message) or message_id, payload=kept)


def _rendered(template: str, context: Mapping[str, object]) -> tuple[str, str, str]:
    """Return a mail's subject, text and HTML, in the language of mails."""
    with translation.override(settings.LANGUAGE_CODE):
        subject = " ".join(render_to_string(f"delivery/{template}.subject.txt", context).split())
        context = {**context, "subject": subject}
        text = _EMPTY_LINES.sub("\n\n", render_to_string(f"delivery/{template}.txt", context).strip()) + "\n"
        return subject, text, render_to_string(f"delivery/{template}.html", context)


def _sender(name: str) -> str:
    """Return the sender of mails, under this name if there is one."""
    _name, address = parseaddr(settings.DEFAULT_FROM_EMAIL)
    plain = "".join(one for one in name if one.isprintable() and one not in '"\\')
    return f'"{plain}" <{address}>' if plain.strip() else settings.DEFAULT_FROM_EMAIL


def _unsubscribing(url: str) -> dict[str, str]:
    """Return the headers by which mail readers offer to unsubscribe, with one click (RFC 8058) over https."""
    if not url:
        return {}
    one_click = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"} if url.startswith("https://") else {}
    return {"List-Unsubscribe": f"<{url}>"} | one_click


def _provider_ref(message: EmailMultiAlternatives) -> str:
    """Return the provider's own name for a mail that it has accepted; empty where it gave none."""
    name = getattr(getattr(message, "anymail_status", None), "message_id", None)
    return name[:LONGEST_REF] if isinstance(name, str) else ""


def _mailable(recipient: str) -> str:
    """Return the canonical form of an address that can be mailed. Raises DeliveryError."""
    try:
        address = mailbox.canonical(recipient)
    except mailbox.BadAddress as bad:
        raise address_rejected(str(bad)) from bad
    if address.endswith(".invalid"):
        # RFC 2606 reserves the domain: no mail server would ever take it.
        raise address_rejected("Addresses that end in .invalid cannot receive mail.")
    return address


def _send_to_learner(action: LearnerContentAssignmentAction, *, now: datetime) -> Done | Skipped:
    """Send the mail of the action's type, from the templates of that name. Raises DeliveryError.

    A learner with a deactivated or deleted account is not mailed.
    """
    assignment = action.assignment
    if "_ahead" not in vars(assignment):
        read_ahead([action])
    if ended := learner_accounts.account_ended(assignment):
        deactivated = ended is AccountEnded.DEACTIVATED
        return Skipped(
            "account_deactivated" if deactivated else "account_deleted", f"The learner's account is {ended}."
        )
    ahead: ReadAhead = vars(assignment)["_ahead"]
    if (outcome := suppressed.outcome_if_not_sent(action, reasons=ahead.suppressed_by)) is not None:
        return outcome
    with translation.override(settings.LANGUAGE_CODE):
        context = _context(action, now=now)
    unsubscribe_url = ""
    if action.action_type in suppressed.UNSUBSCRIBABLE:
        token = unsubscribing.token_for(action, now=now)
        unsubscribe_url = f"{settings.BASE_URL}/u/{token}/"
    return send(
        action.recipient,
        template=action.action_type,
        context=context,
        name=str(action.uuid),
        now=now,
        failed_before=bool(action.attempt_log),
        replies_to=mailbox.canonical_or_empty(ahead.contact),
        sender_name=assignment.budget.customer.sender_name,
        unsubscribe_url=unsubscribe_url,
    )


def _context(action: LearnerContentAssignmentAction, *, now: datetime) -> dict[str, object]:
    assignment = action.assignment
    customer = assignment.budget.customer
    ahead: ReadAhead = vars(assignment)["_ahead"]
    content_display.load_shown_content([assignment], now=now)
    content, about = assignment.shown_content, content_display.about(assignment, now=now)
    # Of this recipient, as of this attempt: it opens nothing once the address is corrected.
    token = signed_links.token_for(assignment, address=action.recipient, now=now)
    starts, ends = (
        moments.day_in_words(at, zone=customer.zone) if at else "" for at in (about.starts_at, about.ends_at)
    )
    return {
        "organisation": customer.name,
        "contact": ahead.contact,
        "course": content_display.title(assignment),
        "partner": content.partner_names if content else "",
        "about": about,
        "starts": starts,
        "ends": ends,
        "started": bool(about.starts_at and about.starts_at <= now),
        "ended": bool(about.ends_at and about.ends_at <= now),
        "accepted": assignment.state == State.ACCEPTED,
        "deadline": deadline_text(assignment, to_learner=True),
        "link": f"{settings.BASE_URL}/a/{token}/",
        # What the administrator wrote to those learners, for the mail about the assignment alone.
        "message": ahead.message if action.action_type == ActionType.NOTIFIED else "",
    }
