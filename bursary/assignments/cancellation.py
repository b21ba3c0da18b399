"""Cancelling: an administrator takes assignments back and the money is free at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from bursary.access.models import User
from bursary.assignments import lifecycle, sweeps
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update


@dataclass
class Cancellation:
    """What came of each assignment that was named: cancelled, cancelled before, or why not."""

    cancelled: list[LearnerContentAssignment] = field(default_factory=list)
    unchanged: list[LearnerContentAssignment] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    """By uuid: `unknown`, or where the assignment stands that forbids it."""


def cancel(
    budget: Budget, *, uuids: Sequence[UUID], now: datetime, actor: User | None = None
) -> Cancellation:
    """Cancel those of the budget's assignments that are open, and say what came of every one.

    Repeating it does no harm. Assignments in another state, or being redeemed, stay as they are.
    """
    outcome = Cancellation()
    with transaction.atomic():
        locked_budget = ledger.lock(budget.pk)
        found = {
            assignment.uuid: assignment
            for assignment in for_update(LearnerContentAssignment.objects.all())
            .filter(budget=budget, uuid__in=uuids)
            .order_by("pk")
        }
        for uuid in dict.fromkeys(uuids):
            _sort(outcome, uuid, found.get(uuid))
        lifecycle.move(locked_budget, outcome.cancelled, ActionType.CANCELLED, now=now, actor=actor)
    return outcome


def cancel_all(
    matching: QuerySet[LearnerContentAssignment], *, budget: Budget, now: datetime, actor: User | None = None
) -> Cancellation:
    """Cancel whatever of `matching`, assignments of one budget, is open, batch by batch."""
    outcome = Cancellation()
    for uuids in sweeps.uuid_batches(matching.filter(budget=budget, state=State.ALLOCATED)):
        batch = cancel(budget, uuids=uuids, now=now, actor=actor)
        outcome.cancelled += batch.cancelled
        outcome.unchanged += batch.unchanged
        outcome.refused |= batch.refused
    return outcome


def _sort(outcome: Cancellation, uuid: UUID, assignment: LearnerContentAssignment | None) -> None:
    if assignment is None:
        outcome.refused[uuid] = "unknown"
    elif assignment.state == State.CANCELLED:
        outcome.unchanged.append(assignment)
    elif lifecycle.allows(assignment, ActionType.CANCELLED):
        outcome.cancelled.append(assignment)
    else:
        outcome.refused[uuid] = lifecycle.standing(assignment)
