"""What became of the assignments of one request: those notified, those not, and why."""

from dataclasses import dataclass

from django.db.models import Count, QuerySet

from bursary.assignments import failures
from bursary.assignments.choices import LearnerState, State
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment


@dataclass(frozen=True)
class BatchProgress:
    """The assignments of a batch, counted."""

    by_state: list[tuple[State, LearnerState, int]]
    """By state and learner state, most frequent first."""
    by_cause: dict[str, int]
    """With failed work to repair, by its cause."""


def assignments(batch: AllocationBatch) -> QuerySet[LearnerContentAssignment]:
    """Return the batch's assignments, without those that a later one has allocated or notified again."""
    return LearnerContentAssignment.objects.filter(budget=batch.budget_id, allocation_batch_uuid=batch.uuid)


def progress(batch: AllocationBatch) -> BatchProgress:
    """Count the batch's assignments. Two queries."""
    rows = assignments(batch)
    counted = rows.order_by().values_list("state", "learner_state").annotate(count=Count("pk"))
    failed = failures.to_repair().filter(assignment__in=rows.values("pk")).order_by()
    by_cause = failed.values_list("error_code").annotate(count=Count("assignment", distinct=True))
    return BatchProgress(
        [
            (State(state), LearnerState(shown), count)
            for state, shown, count in counted.order_by("-count", "state", "learner_state")
        ],
        dict(by_cause.order_by("-count", "error_code")),
    )
