"""The effect of each kind of event. Applying it again is harmless."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from bursary.assignments import mail_reports, redemption
from bursary.assignments.choices import ActionType
from bursary.assignments.lifecycle import MoveRefused
from bursary.assignments.mail_reports import MailReport
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import LedgerEntry, LedgerEntryState
from bursary.events.models import EventKind, EventOutcome
from bursary.replica import schedule


class NotApplicableYet(Exception):
    """The event cannot be applied yet. If that does not change, it is settled with `outcome`."""

    def __init__(self, sentence: str, *, outcome: EventOutcome) -> None:
        super().__init__(sentence)
        self.outcome = outcome


def apply(kind: EventKind, payload: Mapping[str, Any], *, now: datetime) -> EventOutcome:
    """Apply an event of this kind; return its outcome. Raises NotApplicableYet."""
    if kind is EventKind.CONTENT_CHANGED:
        # Upstream's batch job runs after its event, so a single refresh now would find the old record.
        requested = schedule.request_refresh(payload["content_keys"], now=now, until_changed=True)
        return EventOutcome.REFRESH_REQUESTED if requested else EventOutcome.NOT_IN_REPLICA
    if kind is EventKind.TRANSACTION_REVERSED:
        return _reverse(UUID(payload["transaction_uuid"]), now=now)
    if kind is EventKind.MAIL_REPORTED:
        return _record(payload, now=now)
    raise ValueError(f"Events of kind {kind} are not applied.")


def _record(payload: Mapping[str, Any], *, now: datetime) -> EventOutcome:
    report = MailReport(
        fact=ActionType(payload["fact"]),
        at=datetime.fromisoformat(payload["at"]),
        mail=UUID(payload["mail"]) if payload["mail"] else None,
        provider_ref=payload["provider_ref"],
        permanent=payload["permanent"],
        code=payload["code"],
    )
    try:
        new = mail_reports.apply(report, now=now)
    except mail_reports.MailUnknown as unknown:
        if report.mail:
            return EventOutcome.UNKNOWN_MAIL
        # The provider's id is stored when the mail's action is settled, perhaps after this report.
        sentence = "No mail has this name, so far."
        raise NotApplicableYet(sentence, outcome=EventOutcome.UNKNOWN_MAIL) from unknown
    except mail_reports.MailBusy as busy:
        raise NotApplicableYet("The mail is being sent.", outcome=EventOutcome.UNKNOWN_MAIL) from busy
    return EventOutcome.RECORDED if new else EventOutcome.ALREADY_RECORDED


def _reverse(transaction_uuid: UUID, *, now: datetime) -> EventOutcome:
    try:
        redemption.reverse(transaction_uuid, now=now)
    except (LearnerContentAssignment.DoesNotExist, MoveRefused) as refused:
        spent = LedgerEntry.objects.filter(uuid=transaction_uuid).first()
        if spent and spent.state == LedgerEntryState.REVERSED:
            return EventOutcome.ALREADY_REVERSED
        if isinstance(refused, MoveRefused):
            raise NotApplicableYet(str(refused), outcome=EventOutcome.NOT_REVERSIBLE) from refused
        # A redemption may be in flight: the money is spent before the assignment is moved.
        sentence = "No assignment was paid by this transaction, so far."
        raise NotApplicableYet(sentence, outcome=EventOutcome.UNKNOWN_TRANSACTION) from refused
    return EventOutcome.REVERSED
