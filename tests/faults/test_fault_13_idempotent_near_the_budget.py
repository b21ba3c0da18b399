"""Fault 13 of the peer: repeating the request that filled a budget was refused."""

import pytest

from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.world import ALICE, PRICE, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db


def test_fault_13_the_request_that_filled_the_budget_can_be_repeated() -> None:
    budget, content, learners = given_budget(seats=10), given_content(), addresses(10)
    allocate(budget, content, *learners)
    again = allocate(budget, content, *learners)
    assert {one.verdict for one in again.matches} == {Verdict.ALREADY_ASSIGNED}
    assert Budget.objects.get().reserved_cents == 10 * PRICE


def test_fault_13_eleven_copies_of_one_address_are_one_learner() -> None:
    budget, content = given_budget(seats=10), given_content()
    allocate(budget, content, *[ALICE] * 11)
    assert LearnerContentAssignment.objects.count() == 1
    assert Budget.objects.get().reserved_cents == PRICE
