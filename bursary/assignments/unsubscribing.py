"""Unsubscribing from reminders, by a signed link in each of them (RFC 8058). It can be taken back there.

The link names the mail, not the address: it works as long as the mail's recipient is known.
"""

from datetime import datetime, timedelta

from bursary.access import links, suppressions
from bursary.access.links import Link, LinkRevoked, Purpose
from bursary.access.models import SuppressionReason, learner_key
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.models import Customer

WORKS_FOR = timedelta(days=2 * 365)


def token_for(mail: LearnerContentAssignmentAction, *, now: datetime) -> str:
    """Return the token of the link in a mail to its recipient."""
    issued_at = now.replace(microsecond=0)
    digest, until = _digest(mail), issued_at + WORKS_FOR
    return links.token(Link(mail.uuid, mail.cycle, digest, issued_at, Purpose.UNSUBSCRIBE, until=until))


def opened(token: str, *, now: datetime) -> LearnerContentAssignmentAction:
    """Return the mail that a link is in, with its customer. Raises links.LinkRefused."""
    link = links.verified(token, purpose=Purpose.UNSUBSCRIBE, now=now)
    mail = _mail_with(link)
    if mail is None or not mail.recipient or _digest(mail) != link.digest:
        raise LinkRevoked
    return mail


def customer_of(token: str) -> Customer | None:
    """Return the organisation that a genuine link is from, even if it works no more; None for others."""
    link = links.verified_even_if_expired(token, purpose=Purpose.UNSUBSCRIBE)
    mail = _mail_with(link) if link else None
    return mail.assignment.budget.customer if mail else None


def is_unsubscribed(mail: LearnerContentAssignmentAction) -> bool:
    """Return whether the mail's recipient gets no reminders from its organisation."""
    customer = mail.assignment.budget.customer_id
    return SuppressionReason.UNSUBSCRIBED in suppressions.reasons(customer, mail.recipient)


def unsubscribe(mail: LearnerContentAssignmentAction, *, now: datetime) -> None:
    """Send no reminders of this organisation to the mail's recipient from now on. Idempotent."""
    customer = mail.assignment.budget.customer_id
    suppressions.add(customer, mail.recipient, reason=SuppressionReason.UNSUBSCRIBED, since=now)


def subscribe(mail: LearnerContentAssignmentAction) -> None:
    """Send reminders again. Idempotent."""
    customer = mail.assignment.budget.customer_id
    suppressions.end(customer, mail.recipient, reasons=[SuppressionReason.UNSUBSCRIBED])


def _mail_with(link: Link) -> LearnerContentAssignmentAction | None:
    """Return the mail that a link is in, with its customer."""
    rows = LearnerContentAssignmentAction.objects.select_related("assignment__budget__customer")
    return rows.defer("payload", "attempt_log").filter(uuid=link.subject).first()


def _digest(mail: LearnerContentAssignmentAction) -> str:
    return links.digest_of(mail.uuid.hex, learner_key(mail.recipient))
