"""What cannot be joined any more says so in the learner's list, and is offered no longer."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import Role
from bursary.assignments.choices import State
from bursary.budgets.models import Budget
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests.api.door import Door
from tests.world import ALICE, allocate, given_api_key, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def budget() -> Budget:
    return given_budget()


@pytest.fixture
def learner(budget: Budget) -> Door:
    return Door(key=given_api_key(given_user(Role.LEARNER, customer=budget.customer, email=ALICE)))


def credits(learner: Door, budget: Budget) -> list[dict[str, Any]]:
    asked = {"enterprise_customer_uuid": budget.customer.uuid}
    [policy] = learner.get("policy-redemption/credits_available/", **asked).json()
    rows: list[dict[str, Any]] = policy["learner_content_assignments"]
    return rows


def unpublished() -> None:
    ContentMetadata.objects.update(offered=False)


def opening_too_late() -> None:
    ContentMetadata.objects.update(enroll_start=timezone.now() + 999 * DAY)


def withdrawn() -> None:
    CatalogMembership.objects.all().delete()


@pytest.mark.parametrize(
    ("happen", "reason"),
    [
        (unpublished, "content_not_active"),
        (opening_too_late, "enrollment_not_open_in_time"),
        (withdrawn, "content_not_in_catalog"),
    ],
)
def test_what_cannot_be_joined_has_the_reason_that_redeeming_has(
    learner: Door, budget: Budget, happen: Callable[[], None], reason: str
) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now())
    [before] = credits(learner, budget)
    assert (before["state"], before["not_acceptable_now"]) == (State.ALLOCATED, None)

    happen()

    [row] = credits(learner, budget)
    assert row["state"] == State.ALLOCATED
    assert row["not_acceptable_now"].keys() == {"reason", "user_message", "next_step"}
    assert row["not_acceptable_now"]["reason"] == reason
    refused = learner.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": content.content_key})
    assert (refused.status_code, refused.json()[0]["reason"]) == (422, reason)


def test_what_is_accepted_has_no_such_reason(learner: Door, budget: Budget) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now())
    learner.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": content.content_key})
    unpublished()

    [row] = credits(learner, budget)
    assert (row["state"], row["not_acceptable_now"]) == (State.ACCEPTED, None)


@pytest.mark.parametrize("count", [1, 12])
def test_it_takes_as_many_queries_for_many_as_for_one(
    budget: Budget, count: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    learner = Door(session=given_user(Role.LEARNER, customer=budget.customer, email=ALICE))
    for _number in range(count):
        allocate(budget, given_content(), ALICE, now=timezone.now())

    with django_assert_max_num_queries(8):  # two of them for the session and its user
        assert len(credits(learner, budget)) == count
