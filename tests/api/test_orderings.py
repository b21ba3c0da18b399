"""Every ordering of the administrator's list, both ways, with what is unknown."""

import pytest

from bursary.assignments.listing import ORDERINGS
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.cast import ANCHORS, BOATS, CRANES, DRIFT, names
from tests.api.door import Door
from tests.world import NOW, addresses, allocate

pytestmark = pytest.mark.django_db

UP_AND_DOWN = {
    # Equal keys follow in the order in which they were made, or against it when descending.
    "recent_action_time": [ANCHORS, BOATS, CRANES, DRIFT],
    "learner_state_sort_order": [ANCHORS, CRANES, BOATS, DRIFT],
    "content_quantity": [BOATS, CRANES, ANCHORS, DRIFT],  # quantities are negative prices
    "state": [ANCHORS, BOATS, DRIFT, CRANES],
    "learner_email": [DRIFT, CRANES, BOATS, ANCHORS],
    "content_key": [ANCHORS, BOATS, CRANES, DRIFT],
    "expires_at": [BOATS, ANCHORS, CRANES, DRIFT],
    # An unknown title sorts as the empty one, an unknown date as a far one.
    "content_title": [DRIFT, ANCHORS, BOATS, CRANES],
    "content_start": [ANCHORS, BOATS, CRANES, DRIFT],
    "content_enroll_by": [BOATS, ANCHORS, CRANES, DRIFT],
}
UNKNOWN_LAST = {
    "content_end": ([BOATS, ANCHORS, CRANES, DRIFT], [ANCHORS, BOATS, DRIFT, CRANES]),
    "content_price_cents": ([ANCHORS, BOATS, CRANES, DRIFT], [BOATS, ANCHORS, DRIFT, CRANES]),
    "content_course_type": ([CRANES, BOATS, ANCHORS, DRIFT], [ANCHORS, BOATS, CRANES, DRIFT]),
    "content_partner": ([CRANES, ANCHORS, BOATS, DRIFT], [BOATS, ANCHORS, CRANES, DRIFT]),
}


@pytest.fixture
def budget(budget_of_the_cast: Budget) -> Budget:
    return Budget.objects.get(pk=budget_of_the_cast.pk)


@pytest.fixture
def door(door_of_the_cast: Door) -> Door:
    return door_of_the_cast


def test_every_ordering_is_tested_here() -> None:
    assert {*UP_AND_DOWN, *UNKNOWN_LAST} == set(ORDERINGS)


@pytest.mark.parametrize(("key", "expected"), UP_AND_DOWN.items(), ids=UP_AND_DOWN)
def test_what_is_always_known_is_turned_round(
    door: Door, budget: Budget, key: str, expected: list[str]
) -> None:
    assert names(door.assignments(budget, ordering=key)) == expected
    assert names(door.assignments(budget, ordering=f"-{key}")) == expected[::-1]


@pytest.mark.parametrize(
    ("key", "rising", "falling"),
    [(key, rising, falling) for key, (rising, falling) in UNKNOWN_LAST.items()],
    ids=UNKNOWN_LAST,
)
def test_without_content_a_row_is_last_both_ways(
    door: Door, budget: Budget, key: str, rising: list[str], falling: list[str]
) -> None:
    assert names(door.assignments(budget, ordering=key)) == rising
    assert names(door.assignments(budget, ordering=f"-{key}")) == falling


@pytest.mark.parametrize("asked", [{}, {"ordering": ""}, {"ordering": ","}])
def test_the_most_recent_is_first_unless_asked_otherwise(
    door: Door, budget: Budget, asked: dict[str, str]
) -> None:
    assert names(door.assignments(budget, **asked)) == [DRIFT, CRANES, BOATS, ANCHORS]


def test_several_keys_are_applied_one_after_the_other(door: Door, budget: Budget) -> None:
    answer = door.assignments(budget, ordering="state,-content_price_cents")
    assert names(answer) == [BOATS, ANCHORS, DRIFT, CRANES]


def test_titles_are_sorted_without_case(door: Door, budget: Budget, content: ContentMetadata) -> None:
    ContentMetadata.objects.filter(pk=content.pk).update(title="boats and rafts")
    allocate(budget, content, *addresses(1))
    keys = names(door.assignments(budget, ordering="content_title"))
    assert keys == [DRIFT, ANCHORS, content.content_key.removeprefix("RiversideX+"), BOATS, CRANES]


@pytest.mark.parametrize("key", UNKNOWN_LAST)
@pytest.mark.parametrize("sign", ["", "-"])
def test_pages_join_into_the_whole_list(door: Door, budget: Budget, key: str, sign: str) -> None:
    """Every row once and in order, although all of them are equal in most keys."""
    budget.refresh_from_db()
    allocate(
        budget,
        ContentMetadata.objects.get(content_key=f"RiversideX+{DRIFT}"),
        "eve@learners.example",
        price_cents=5_000,
    )
    LearnerContentAssignment.objects.update(expires_at=NOW, recent_action_at=NOW)
    whole = names(door.assignments(budget, ordering=f"{sign}{key}"))
    paged = [
        name
        for page in range(1, 6)
        for name in names(door.assignments(budget, ordering=f"{sign}{key}", page=page, page_size=1))
    ]
    assert paged == whole
