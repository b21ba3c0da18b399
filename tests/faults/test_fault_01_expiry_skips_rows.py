"""Fault 1 of the peer: paging over what it changed, the expiry job left half of 10,000 due rows."""

import os
from datetime import timedelta

import pytest

from bursary.assignments import expiry, sweeps
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.world import NOW, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

ROWS = 10_000 if "BURSARY_TEST_SOAK" in os.environ else 1_100
"""As many as the peer had, in `make soak`; elsewhere three batches, the last of them not full."""


def test_fault_01_all_that_are_due_expire_in_one_run() -> None:
    assert 2 * sweeps.BATCH < ROWS
    allocate(given_budget(), given_content(), *addresses(ROWS))
    sweep = expiry.expire_due(now=NOW + timedelta(days=90))
    assert sweep.done == ROWS
    assert LearnerContentAssignment.objects.filter(state=State.EXPIRED).count() == ROWS
    assert Budget.objects.get().reserved_cents == 0
