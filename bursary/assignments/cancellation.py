"""Cancellation: an administrator cancels assignments, and their money is free at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction

from bursary.access.models import User
from bursary.assignments import lifecycle, sweeps
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks


@dataclass
class Cancellation:
    """The result for each assignment: cancelled, cancelled before, or refused."""

    cancelled: list[LearnerContentAssignment] = field(default_factory=list)
    unchanged: list[LearnerContentAssignment] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    """By uuid: `unknown`, or the state that forbids it."""


@repeated_after_deadlocks
def cancel(
    budget: Budget, *, uuids: Sequence[UUID], now: datetime, actor: User | None = None, turn: int = 0
) -> Cancellation:
    """Cancel the budget's assignments with these uuids, where they are open. Idempotent.

    Assignments in other states, or being redeemed, stay as they are and are refused. `turn` is that of
    `actions.request`.
    """
    outcome = Cancellation()
    with transaction.atomic():
        locked_budget = ledger.lock(budget.pk)
        named = LearnerContentAssignment.objects.filter(budget=budget, uuid__in=uuids)
        found = {one.uuid: one for one in for_update(named).order_by("pk")}
        for uuid in dict.fromkeys(uuids):
            assignment = found.get(uuid)
            if assignment is None:
                outcome.refused[uuid] = "unknown"
            elif assignment.state == State.CANCELLED:
                outcome.unchanged.append(assignment)
            elif lifecycle.allows(assignment, ActionType.CANCELLED):
                outcome.cancelled.append(assignment)
            else:
                outcome.refused[uuid] = lifecycle.blocking_state(assignment)
        lifecycle.move(
            locked_budget, outcome.cancelled, ActionType.CANCELLED, now=now, actor=actor, turn=turn
        )
    return outcome


def cancel_all(
    budget: Budget, *, uuids: Sequence[UUID], now: datetime, actor: User | None = None
) -> Cancellation:
    """Cancel the open ones of the budget's assignments with these uuids, batch by batch."""
    outcome = Cancellation()
    still_open = LearnerContentAssignment.objects.filter(budget=budget, state=State.ALLOCATED)
    for some in sweeps.uuid_batches(still_open, among=uuids):
        batch = cancel(budget, uuids=some, now=now, actor=actor, turn=len(outcome.cancelled))
        outcome.cancelled += batch.cancelled
        outcome.unchanged += batch.unchanged
        outcome.refused |= batch.refused
    return outcome
