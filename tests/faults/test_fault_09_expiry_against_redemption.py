"""Fault 9 of the peer: a learner redeemed while the expiry job was at work, and its stale save undid that."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from bursary.assignments import expiry, redemption, sweeps
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, LedgerEntry
from tests.world import NOW, PRICE, given_assignment

pytestmark = pytest.mark.django_db

OVER = NOW + timedelta(days=90)


def test_fault_09_a_course_redeemed_while_the_sweep_runs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assignment = given_assignment()
    lock_batch = sweeps.lock_batch
    found_due = expiry.to_expire(OVER).count()

    def redeemed_first(*args: Any, now: datetime, **more: Any) -> list[LearnerContentAssignment]:
        if assignment.state == State.ALLOCATED:  # the sweep has found it; now the learner is faster
            # Not by the runner: its claim is a transaction of its own, and the sweep's has begun.
            action = redemption.begin(assignment, now=OVER - timedelta(seconds=1))
            redemption.fulfil(action, now=OVER)
            assignment.refresh_from_db()
        return lock_batch(*args, now=now, **more)

    monkeypatch.setattr(sweeps, "lock_batch", redeemed_first)
    assert (found_due, expiry.expire_due(now=OVER).done) == (1, 0)

    assignment.refresh_from_db()
    spent = LedgerEntry.objects.get()
    assert (assignment.state, assignment.transaction_uuid) == (State.ACCEPTED, spent.uuid)
    assert assignment.accepted_at == OVER
    assert (Budget.objects.get().reserved_cents, Budget.objects.get().spent_cents) == (0, PRICE)
