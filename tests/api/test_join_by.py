"""Until when learners can join: one date, by which lists are sorted and filtered, and which they show."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.budgets.models import Budget
from bursary.lib import moments
from bursary.replica.models import ContentMetadata, ContentType
from tests.api.door import Door, door_of
from tests.world import ALICE, BOB, CAROL, allocate, given_api_key, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
EARLY = timezone.now().replace(microsecond=0) + 20 * DAY
BETWEEN, LATE = EARLY + 10 * DAY, EARLY + 20 * DAY


@pytest.fixture
def two_runs() -> ContentMetadata:
    """A course with an early date of its own, and a run which learners can join for longer."""
    course = given_content("RiversideX+TWO", enroll_by=EARLY, title="Two runs")
    given_content(
        "course-v1:TWO+later",
        content_type=ContentType.COURSERUN,
        parent=course,
        catalog=None,
        enroll_by=LATE,
        offered=True,
    )
    return course


@pytest.fixture
def budget(two_runs: ContentMetadata) -> Budget:
    budget = given_budget()
    allocate(budget, two_runs, ALICE, now=timezone.now())
    allocate(budget, given_content("RiversideX+ONE", enroll_by=BETWEEN), BOB, now=timezone.now())
    allocate(budget, given_content("RiversideX+NONE"), CAROL, now=timezone.now())
    return budget


@pytest.fixture
def door(budget: Budget) -> Door:
    return door_of(Role.ADMINISTRATOR, customer=budget.customer)


def keys(door: Door, budget: Budget, **query: object) -> list[str]:
    rows = door.assignments(budget, **query).json()["results"]
    return [row["content_key"].removeprefix("RiversideX+") for row in rows]


def test_a_list_is_sorted_and_filtered_by_the_date_that_it_shows(door: Door, budget: Budget) -> None:
    rows = door.assignments(budget, ordering="content_enroll_by").json()["results"]
    shown = {row["content_key"].removeprefix("RiversideX+"): row["join_by"] for row in rows}

    assert list(shown) == ["ONE", "TWO", "NONE"]
    assert shown == {"ONE": iso(BETWEEN), "TWO": iso(LATE), "NONE": None}
    own = {row["content_key"]: row["content_metadata"]["enroll_by"] for row in rows}
    assert own["RiversideX+TWO"] == iso(EARLY)
    for name, expected in (("__lte", ["ONE"]), ("", ["ONE"]), ("__gte", ["ONE", "TWO"])):
        query = {f"content_enroll_by{name}": iso(BETWEEN), "ordering": "content_enroll_by"}
        assert keys(door, budget, **query) == expected
    assert keys(door, budget, content_enroll_by=iso(EARLY)) == []


def test_the_learner_the_preview_and_the_assign_page_have_the_same_date(
    client: Client, door: Door, budget: Budget, two_runs: ContentMetadata
) -> None:
    preview = door.can_allocate(budget, two_runs, "dave@learners.example").json()
    assert preview["joining"]["join_by"] == iso(LATE)

    learner = given_user(Role.LEARNER, customer=budget.customer, email=ALICE)
    (policy,) = (
        Door(key=given_api_key(learner))
        .get("policy-redemption/credits_available/", enterprise_customer_uuid=budget.customer.uuid)
        .json()
    )
    assert [one["join_by"] for one in policy["learner_content_assignments"]] == [iso(LATE)]

    client.force_login(given_user(Role.ADMINISTRATOR, customer=budget.customer))
    page = client.get(reverse("assign", args=[budget.uuid])).content.decode()
    in_words = moments.in_words(LATE, zone=budget.customer.zone)
    assert f"join by {in_words}" in page


def iso(moment: object) -> str:
    return str(moment).replace(" ", "T").replace("+00:00", "Z")
