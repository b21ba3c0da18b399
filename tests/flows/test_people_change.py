"""People change their addresses, and stay one learner with one seat."""

import pytest

from bursary.access.models import Role
from bursary.assignments import account_linking
from bursary.assignments.choices import State
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard.overview import own_assignments
from tests.world import ALICE, BOB, NOW, PRICE, allocate, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("lms_user_id", [7, None], ids=["in the LMS", "here only"])
@pytest.mark.parametrize("second", [ALICE, BOB], ids=["the old address", "the new one"])
@pytest.mark.parametrize("first", [ALICE, BOB], ids=["first the old", "first the new"])
def test_he_changed_his_name(first: str, second: str, lms_user_id: int | None) -> None:
    budget, content = given_budget(seats=5), given_content()
    person = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=lms_user_id)
    person.email = BOB
    person.save()

    allocate(budget, content, first)
    again = allocate(budget, content, second)

    assert [one.verdict for one in again.outcomes] == [Verdict.UNCHANGED]
    both = allocate(budget, given_content(), first, second)
    assert [one.verdict for one in both.outcomes] == ([Verdict.NEW, Verdict.DUPLICATE])
    budget.refresh_from_db()
    assert budget.held_cents == 2 * PRICE
    assert own_assignments(person).count() == 2


def test_what_was_assigned_to_the_address_before_it_changed_stays_the_learners() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE)
    person = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    person.email = BOB
    person.save()
    account_linking.link_registered_users(now=NOW)
    assert own_assignments(person).count() == 1
    assert allocate(budget, content, BOB).outcomes[0].verdict is Verdict.UNCHANGED
    assert LearnerContentAssignment.objects.get().state == State.ALLOCATED
