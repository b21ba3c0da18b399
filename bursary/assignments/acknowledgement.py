"""Acknowledgement: the learner has seen that an assignment was cancelled or expired."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from bursary.access.models import User
from bursary.assignments import actions
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks

FACT_OF = {
    State.CANCELLED: ActionType.CANCELLED_ACKNOWLEDGED,
    State.EXPIRED: ActionType.EXPIRED_ACKNOWLEDGED,
}


@dataclass
class Acknowledgement:
    """The result for each assignment: acknowledged now, already before, or refused because it did not end."""

    acknowledged: list[LearnerContentAssignment] = field(default_factory=list)
    already: list[LearnerContentAssignment] = field(default_factory=list)
    refused: list[LearnerContentAssignment] = field(default_factory=list)


def acknowledged() -> Exists:
    """Return a condition: the learner acknowledged the current cycle's end, or declined it themselves."""
    known_by = [*FACT_OF.values(), ActionType.DECLINED]
    facts = LearnerContentAssignmentAction.objects.filter(
        assignment=OuterRef("pk"), cycle=OuterRef("cycle"), action_type__in=known_by
    )
    return Exists(facts)


@repeated_after_deadlocks
def acknowledge(
    own: QuerySet[LearnerContentAssignment],
    *,
    uuids: Sequence[UUID],
    now: datetime,
    actor: User | None = None,
) -> Acknowledgement:
    """Acknowledge those of the learner's own assignments that ended. Idempotent."""
    result = Acknowledgement()
    with transaction.atomic():
        pks = list(own.filter(uuid__in=uuids).values_list("pk", flat=True))
        named = LearnerContentAssignment.objects.filter(pk__in=pks)
        rows = list(for_update(named).order_by("pk"))
        seen = set(named.filter(acknowledged()).values_list("pk", flat=True))
        for assignment in rows:
            ended = assignment.state in FACT_OF
            kept = (
                result.already if assignment.pk in seen else result.acknowledged if ended else result.refused
            )
            kept.append(assignment)
        for state, fact in FACT_OF.items():
            ended_so = [assignment for assignment in result.acknowledged if assignment.state == state]
            actions.record(ended_so, fact, now=now, actor=actor)
    return result
