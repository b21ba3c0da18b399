"""Redeeming, as work that the runner repeats until it is done or given up."""

from bursary.assignments import redemption
from bursary.assignments.actions import Done
from bursary.assignments.choices import ErrorReason
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.ledger import LedgerError
from bursary.delivery.errors import DeliveryError


def redeem(action: LearnerContentAssignmentAction) -> Done:
    """Spend and move. Raises DeliveryError, for good, where the books refuse."""
    try:
        return redemption.fulfil(action, now=action.modified)
    except LedgerError as refused:
        raise DeliveryError(
            "ledger_refused", str(refused), permanent=True, reason=ErrorReason.ENROLLMENT_ERROR
        ) from refused
