"""Over HTTP: one course is allocated and paid once, and what was declined is not asked again."""

from typing import Any

import pytest
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import declining
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, Customer, LedgerEntry
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of
from tests.world import ALICE, BOB, PRICE, given_api_key, given_budget, given_content, given_run, given_user

pytestmark = pytest.mark.django_db

RUN = "course-v1:RiversideX+TIDE+spring"


@pytest.fixture
def budget() -> Budget:
    return given_budget(seats=10)


@pytest.fixture
def door(budget: Budget) -> Door:
    return door_of(Role.ADMINISTRATOR, customer=budget.customer)


@pytest.fixture
def course() -> ContentMetadata:
    course = given_content("RiversideX+TIDE", with_run=False)
    given_run(course, RUN)
    return course


@pytest.fixture
def run(course: ContentMetadata) -> ContentMetadata:
    return ContentMetadata.objects.get(content_key=RUN)


@pytest.fixture
def alice(budget: Budget) -> Door:
    user = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)
    return Door(key=given_api_key(user))


def redeem(alice: Door, budget: Budget, key: str) -> Any:
    return alice.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": key, "metadata": {}}).json()


def test_a_second_seat_is_in_no_change_with_its_verdict_and_the_other_assignment(
    door: Door, budget: Budget, course: ContentMetadata, run: ContentMetadata
) -> None:
    [first] = door.allocate(budget, run, ALICE).json()["created"]

    seen = door.can_allocate(budget, course, ALICE, BOB).json()
    done = door.allocate(budget, course, ALICE, BOB).json()

    [unchanged] = done["no_change"]
    assert (unchanged["verdict"], unchanged["uuid"]) == ("has_other_run", first["uuid"])
    assert (unchanged["content_key"], unchanged["state"]) == (RUN, "allocated")
    assert [one["learner_email"] for one in done["created"]] == [BOB]
    assert (seen["cost_cents"], Budget.objects.get().reserved_cents) == (PRICE, 2 * PRICE)
    alices = seen["learners"][0]
    assert (alices["verdict"], alices["assignment_uuid"]) == ("has_other_run", first["uuid"])
    assert alices["assignment"] == {"uuid": first["uuid"], "content_key": RUN, "state": "allocated"}


def test_one_more_is_allocated_where_the_body_says_so(
    door: Door, budget: Budget, course: ContentMetadata, run: ContentMetadata
) -> None:
    door.allocate(budget, course, ALICE)
    assert door.allocate(budget, run, ALICE).json()["no_change"][0]["verdict"] == "has_course"

    assert door.can_allocate(budget, run, ALICE, allow_another=True).json()["cost_cents"] == PRICE
    [created] = door.allocate(budget, run, ALICE, allow_another=True).json()["created"]

    assert created["content_key"] == RUN


@pytest.mark.parametrize(
    ("asked", "setting", "answered"),
    [
        ({}, False, "no_change"),
        ({}, True, "updated"),
        ({"reallocate_declined": None}, True, "updated"),
        ({"reallocate_declined": True}, False, "updated"),
        ({"reallocate_declined": False}, True, "no_change"),
    ],
)
def test_what_was_declined_is_asked_again_as_the_body_or_the_organisation_says(
    door: Door, budget: Budget, course: ContentMetadata, asked: dict[str, Any], setting: bool, answered: str
) -> None:
    door.allocate(budget, course, ALICE)
    declining.decline(LearnerContentAssignment.objects.get(), reason="", now=timezone.now())
    Customer.objects.update(reallocate_declined=setting)

    [seen] = door.can_allocate(budget, course, ALICE, **asked).json()["learners"]
    done = door.allocate(budget, course, ALICE, **asked).json()

    assert [name for name in ("created", "updated", "no_change") if done[name]] == [answered]
    expected = "declined_before" if answered == "no_change" else "reallocated"
    assert seen["verdict"] == expected
    if answered == "no_change":
        assert (done["no_change"][0]["verdict"], done["no_change"][0]["state"]) == (expected, "cancelled")


@pytest.mark.parametrize("first", ["run", "course"])
def test_a_learner_with_a_run_and_its_course_redeems_twice_and_pays_once(
    door: Door, alice: Door, budget: Budget, course: ContentMetadata, run: ContentMetadata, first: str
) -> None:
    keys = {"run": run.content_key, "course": course.content_key}
    door.allocate(budget, course, ALICE)
    door.allocate(budget, run, ALICE, allow_another=True)
    assert all(one["can_redeem"] for one in alice.can_redeem(budget, *keys.values()))

    paid = redeem(alice, budget, keys[first])
    again = [redeem(alice, budget, key) for key in (*keys.values(), keys[first])]

    assert {one["state"] for one in (paid, *again)} == {"committed"}
    assert {one["uuid"] for one in (paid, *again)} == {str(LedgerEntry.objects.get().uuid)}
    assert Budget.objects.get().spent_cents == PRICE
    for one in alice.can_redeem(budget, *keys.values()):
        assert (one["can_redeem"], one["has_successful_redemption"]) == (False, True)
        assert one["redeemable_subsidy_access_policy"] is None


def test_the_course_of_an_accepted_run_is_redeemed_without_being_assigned(
    door: Door, alice: Door, budget: Budget, course: ContentMetadata, run: ContentMetadata
) -> None:
    door.allocate(budget, run, ALICE)
    [before] = alice.can_redeem(budget, course.content_key)
    assert before["display_reason"]["reason"] == "reason_learner_not_assigned_content"
    paid = redeem(alice, budget, RUN)
    [after] = alice.can_redeem(budget, course.content_key)
    assert after["has_successful_redemption"]
    assert redeem(alice, budget, course.content_key)["uuid"] == paid["uuid"]
    assert LedgerEntry.objects.count() == 1
