"""Cancellation: an administrator cancels assignments, and their money is free at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import transaction

from bursary.access.models import User
from bursary.assignments import lifecycle, named_assignments, sweeps
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.named_assignments import NamedResult
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib.retries import repeated_after_deadlocks


@dataclass
class Cancellation(NamedResult):
    """The result for each assignment: cancelled, cancelled before, or refused for the state that it is in."""

    cancelled: list[LearnerContentAssignment] = field(default_factory=list)
    unchanged: list[LearnerContentAssignment] = field(default_factory=list)


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
        found = named_assignments.lock(locked_budget, uuids)
        for assignment in outcome.known(uuids, found):
            if assignment.state == State.CANCELLED:
                outcome.unchanged.append(assignment)
            elif lifecycle.allows(assignment, ActionType.CANCELLED):
                outcome.cancelled.append(assignment)
            else:
                outcome.refused[assignment.uuid] = lifecycle.blocking_state(assignment)
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
        outcome.add(cancel(budget, uuids=some, now=now, actor=actor, turn=len(outcome.cancelled)))
    return outcome
