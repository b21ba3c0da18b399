"""Mails about a new assignment: whether one may have arrived, and those that wait for their budget."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.lib import leases
from bursary.lib.batches import chunks

ROWS_PER_STATEMENT = 1000


def may_have_arrived(assignment: LearnerContentAssignment) -> bool:
    """Return whether the learner may know of the assignment: only then are they notified of its end."""
    first = assignment.actions.filter(action_type=ActionType.NOTIFIED, cycle=assignment.cycle)
    # A mail that is being sent, or that got no answer from its server, may have arrived.
    arrived = Q(status__in=[Status.DONE, Status.RUNNING]) | Q(error_code="answer_lost")
    return first.filter(arrived).exists()


def resume(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Let postponed invitations from these budgets, where in use, be sent now (decision 0011).

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
