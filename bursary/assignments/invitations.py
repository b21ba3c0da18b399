"""Mails about a new assignment that wait for their budget: sent once it is in use (decision 0012)."""

from collections.abc import Iterable
from datetime import datetime

from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.lib import leases
from bursary.lib.batches import chunks

ROWS_PER_STATEMENT = 1000


def resume(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Let postponed invitations from these budgets, where in use, be sent now.

    Receives `budget_changed`.
    """
    in_use = [budget.pk for budget in Budget.objects.filter(pk__in=list(pks)) if not budget.not_in_use(now)]
    asked = LearnerContentAssignment.objects.filter(budget__in=in_use, state=State.ALLOCATED)
    postponed = LearnerContentAssignmentAction.objects.filter(
        assignment__in=asked, action_type=ActionType.NOTIFIED, status=Status.PENDING, attempts__gt=0
    )
    waiting = list(postponed.values_list("pk", flat=True)) if in_use else []
    for chunk in chunks(waiting, ROWS_PER_STATEMENT):
        leases.schedule(LearnerContentAssignmentAction.objects.filter(pk__in=chunk), at=now, now=now)
