"""Fault 15 of the peer: one budget with broken records killed the job, and no other's assignments expired."""

from datetime import timedelta

import pytest

from bursary.assignments import expiry
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops.sweep_commands import EXPIRING
from tests.world import NOW, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db

OVER = NOW + timedelta(days=90)


def test_fault_15_a_budget_with_wrong_books_stops_no_other() -> None:
    broken, content = given_budget(), given_content()
    allocate(broken, content, *addresses(3), now=NOW - timedelta(days=1))  # due first
    Budget.objects.update(reserved_cents=0)  # the money that it should free is not there
    for _ in range(3):
        allocate(given_budget(), content, *addresses(3))

    swept = EXPIRING.run(OVER, None)

    assert swept.done == 9
    assert list(swept.failed) == [str(broken.uuid)]
    left = LearnerContentAssignment.objects.filter(state=State.ALLOCATED)
    assert set(left.values_list("budget", flat=True)) == {broken.pk}
    assert expiry.to_expire(OVER).count() == 3  # and will be tried again
