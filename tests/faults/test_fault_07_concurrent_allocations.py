"""Fault 7 of the peer: two servers allocating at once overspent, and crashed on the same learners."""

from functools import partial

import pytest

from bursary.assignments.allocation import Allocation, AllocationRefused
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from tests.together import together
from tests.world import PRICE, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 10


def test_fault_07_two_allocations_at_once_never_overspend() -> None:
    content = given_content()
    for _round in range(ROUNDS):
        budget = given_budget(seats=10)
        outcomes = together(
            [partial(allocate, budget, content, *addresses(10, start=start)) for start in (0, 10)]
        )
        kinds = sorted(type(outcome).__name__ for outcome in outcomes)
        assert kinds == [Allocation.__name__, AllocationRefused.__name__]
        assert LearnerContentAssignment.objects.filter(budget=budget).count() == 10
        assert Budget.objects.get(pk=budget.pk).reserved_cents == 10 * PRICE


def test_fault_07_the_same_learners_twice_at_once_are_assigned_once() -> None:
    content = given_content()
    for _round in range(ROUNDS):
        budget = given_budget(seats=10)
        outcomes = together([partial(allocate, budget, content, *addresses(10))] * 2)
        assert [type(outcome) for outcome in outcomes] == [Allocation, Allocation]
        mine = LearnerContentAssignment.objects.filter(budget=budget)
        assert mine.count() == 10
        assert LearnerContentAssignmentAction.objects.filter(assignment__in=mine).count() == 30
        assert Budget.objects.get(pk=budget.pk).reserved_cents == 10 * PRICE
