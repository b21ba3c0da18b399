"""The progress of one request to allocate: learners notified, those not, and why."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from bursary.assignments import failures, failures_by_code
from bursary.assignments.choices import (
    IN_FORCE,
    LINK_AND_NOTIFY,
    UNFINISHED,
    ActionType,
    LearnerState,
    State,
    Status,
)
from bursary.assignments.matching import Verdict
from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)


@dataclass(frozen=True)
class BatchProgress:
    """The assignments of a batch, counted."""

    by_state: list[tuple[State, LearnerState, int]]
    """By state and learner state, most frequent first."""
    by_code: dict[str, int]
    """With failed work to repair, by error code."""


@dataclass(frozen=True)
class MailsPlanned:
    """The work to be done before all learners of a batch are notified."""

    retried: int
    """Assignments with work that has failed and is tried again."""
    until: datetime | None
    """When the last of it is due; it may be done sooner."""


def assignments(batch: AllocationBatch) -> QuerySet[LearnerContentAssignment]:
    """Return the batch's assignments, without those that a later one has allocated or notified again."""
    return LearnerContentAssignment.objects.filter(budget=batch.budget_id, allocation_batch_uuid=batch.uuid)


def by_state(batch: AllocationBatch) -> list[tuple[State, LearnerState, int]]:
    """Count the batch's assignments by state and learner state, most frequent first. One query."""
    counted = assignments(batch).order_by().values_list("state", "learner_state").annotate(count=Count("*"))
    return [
        (State(state), LearnerState(shown), count)
        for state, shown, count in counted.order_by("-count", "state", "learner_state")
    ]


def notified_and_ended(batch: AllocationBatch) -> int:
    """Count the batch's ended assignments with learners that were notified. One query."""
    mails = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"), cycle=OuterRef("cycle"), action_type=ActionType.NOTIFIED
    )
    ended = assignments(batch).exclude(state__in=IN_FORCE)
    return ended.filter(Exists(mails.filter(status=Status.DONE))).count()


def progress(batch: AllocationBatch) -> BatchProgress:
    """Count the batch's assignments. Two queries."""
    rows = assignments(batch)
    failed = failures.to_repair().filter(assignment__in=rows.values("pk"))
    return BatchProgress(by_state(batch), dict(failures_by_code.by_error_code(failed)))


@dataclass(frozen=True)
class LeftUnchanged:
    """An existing assignment that the request left unchanged, and its verdict."""

    assignment: LearnerContentAssignment
    verdict: Verdict


def left_unchanged(batch: AllocationBatch, *, start: int, size: int) -> list[LeftUnchanged]:
    """Return `size` of the assignments that the request left unchanged, from `start` on. One query."""
    named = [(Verdict(verdict), pk) for verdict, pks in batch.unchanged.items() for pk in pks]
    part = named[start : start + size]
    rows = LearnerContentAssignment.objects.in_bulk([pk for _verdict, pk in part])
    return [LeftUnchanged(rows[pk], verdict) for verdict, pk in part if pk in rows]


def mails_planned(batch: AllocationBatch) -> MailsPlanned:
    """Return what is still to be done before each learner of the batch is notified. One query."""
    on_their_way = assignments(batch).filter(state=State.ALLOCATED, learner_state=LearnerState.NOTIFYING)
    work = LearnerContentAssignmentAction.objects.filter(
        assignment__in=on_their_way.values("pk"),
        action_type__in=LINK_AND_NOTIFY,
        status__in=UNFINISHED,
    )
    retried = Count("assignment", distinct=True, filter=Q(attempts__gt=0, status=Status.PENDING))
    return MailsPlanned(**work.order_by().aggregate(retried=retried, until=Max("due_at")))


def message_to(assignment: LearnerContentAssignment) -> str:
    """Return the organisation's message to the learner, of the latest request; empty for none. One query."""
    uuid = assignment.allocation_batch_uuid
    messages = AllocationBatch.objects.filter(uuid=uuid).values_list("message", flat=True) if uuid else ()
    return next(iter(messages), "")
