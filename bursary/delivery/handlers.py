"""HANDLERS, the table of functions that do each kind of work, and the handlers that send no mail.

A handler is idempotent: it may be called again for the same action. It raises DeliveryError. `now` is when
this attempt began.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from django.db import transaction

from bursary.access import known_learners
from bursary.assignments import redemption
from bursary.assignments.choices import ActionType, ErrorReason
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.assignments.outcomes import Done, Postponed, Skipped
from bursary.budgets.ledger import LedgerError
from bursary.delivery import emails
from bursary.delivery.errors import DeliveryError
from bursary.lib.retries import repeated_after_deadlocks


@repeated_after_deadlocks
def link_learner(action: LearnerContentAssignmentAction, *, now: datetime) -> Done:
    """Link the action's recipient to the assignment's customer, where an earlier release requested it."""
    customer, key = action.assignment.budget.customer, action.assignment.mailbox_or_learner_key
    with transaction.atomic():
        links = known_learners.link(customer, {key: action.recipient}, now=now)
    return Done(provider_ref=known_learners.reference(links[key]))


def redeem(action: LearnerContentAssignmentAction, *, now: datetime) -> Done:
    """Spend the money and accept the assignment. A refusal of the ledger is permanent."""
    try:
        return redemption.fulfil(action, now=now)
    except LedgerError as refused:
        raise DeliveryError(
            "ledger_refused", str(refused), permanent=True, reason=ErrorReason.ENROLLMENT_ERROR
        ) from refused


class Handler(Protocol):
    """Does one kind of work for an action that a worker has claimed."""

    def __call__(
        self, action: LearnerContentAssignmentAction, /, *, now: datetime
    ) -> Done | Skipped | Postponed: ...


HANDLERS: Mapping[ActionType, Handler] = {
    ActionType.LEARNER_LINKED: link_learner,
    ActionType.NOTIFIED: emails.notify,
    ActionType.REMINDED: emails.remind,
    ActionType.NUDGED: emails.nudge,
    ActionType.REDEEMED: redeem,
    ActionType.CANCELLATION_NOTIFIED: emails.notify_of_end,
    ActionType.EXPIRATION_NOTIFIED: emails.notify_of_end,
}
