"""What changed in content, and which open assignments that affects: old and new."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest
from rest_framework import serializers

from bursary.access.models import Role
from bursary.assignments import cancellation, impact
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentChange, ContentMetadata, ContentType
from tests.api.door import Answer, Door, door_of, refusal_of
from tests.world import (
    ALICE,
    BOB,
    CATALOG,
    NOW,
    PRICE,
    addresses,
    allocate,
    given_budget,
    given_content,
    given_customer,
)

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]
DAY = timedelta(days=1)
BEFORE = NOW - 10 * DAY
"""When assignments here were allocated; changes are from NOW."""


def changed(
    content: ContentMetadata, field: str, old: object, new: object, *, at: datetime = NOW
) -> ContentChange:
    old, new = (value.isoformat() if isinstance(value, datetime) else value for value in (old, new))
    return ContentChange.objects.create(
        content=content,
        field=field,
        old=old,
        new=new,
        catalog_uuid=str(old or new) if field == "membership" else None,
        trigger="cron",
        created=at,
    )


def changes(door: Door, content: ContentMetadata, **query: object) -> Answer:
    return door.get(f"content-metadata/{content.content_key}/changes/", **query)


def impact_on(door: Door, content: ContentMetadata, **query: object) -> Answer:
    answer = door.get(f"content-metadata/{content.content_key}/impact/", **query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def given(budget: Budget, content: ContentMetadata, address: str = ALICE, *, at: datetime = BEFORE) -> None:
    allocate(budget, content, address, now=at)


def run_of(course: ContentMetadata) -> ContentMetadata:
    return ContentMetadata.objects.get(content_key=course.advertised_run)


def touches(answer: Answer) -> dict[str, list[tuple[str, object, object]]]:
    return {
        row["learner_email"]: [(one["effect"], one["old"], one["new"]) for one in row["touches"]]
        for row in answer["results"]
    }


# -- Changes ------------------------------------------------------------------------------------------------


def test_changes_come_newest_first_with_old_new_when_and_by_what(
    door: Door, content: ContentMetadata
) -> None:
    changed(content, "title", "Old", "New", at=NOW - DAY)
    last = changed(content, "price_cents", 100, None)
    changed(given_content(), "title", "Not", "this")

    answer = changes(door, content).json()

    assert answer["count"] == 2
    assert answer["results"][0] == {
        "id": last.pk,
        "content_key": content.content_key,
        "field": "price_cents",
        "old": 100,
        "new": None,
        "source": "cron",
        "created": "2026-03-02T09:00:00Z",
    }
    assert [row["field"] for row in answer["results"]] == ["price_cents", "title"]


@pytest.mark.on_every_engine
def test_changes_are_filtered_by_field_and_time_and_come_in_pages(
    door: Door, content: ContentMetadata
) -> None:
    for days in range(5):
        changed(content, "title", days, days + 1, at=NOW - days * DAY)
    changed(content, "active", True, False)

    def listed(**query: object) -> list[object]:
        return [row["new"] for row in changes(door, content, **query).json()["results"]]

    assert listed(field="active") == [False]
    assert listed(field="title", since=(NOW - DAY).isoformat()) == [1, 2]
    assert listed(field="title", page=2, page_size=2) == [3, 4]
    assert refusal_of(changes(door, content, since="soon")) == (400, "invalid_request")


def test_every_reader_of_content_reads_its_changes(content: ContentMetadata) -> None:
    changed(content, "title", "Old", "New")
    assert changes(door_of(Role.LEARNER, customer=given_budget().customer), content).json()["count"] == 1
    assert refusal_of(changes(door_of(None), content)) == (403, "not_permitted")


@pytest.mark.parametrize("ending", ["changes", "impact"])
def test_unknown_content_is_404(door: Door, ending: str) -> None:
    assert refusal_of(door.get(f"content-metadata/Nobody+Knows/{ending}/")) == (404, "not_found")


@pytest.mark.parametrize("ending", ["changes", "impact"])
def test_keys_with_slashes_have_changes_and_one_that_ends_like_the_url_is_still_found(
    door: Door, ending: str
) -> None:
    old_run = given_content("RiversideX/Tides/2026")
    odd_run = given_content(f"RiversideX/Tides/{ending}")
    changed(old_run, "title", "Old", "New")

    assert len(door.get(f"content-metadata/{old_run.content_key}/{ending}/").json()["results"]) == (
        ending == "changes"
    )
    itself = door.get(f"content-metadata/{odd_run.content_key}/")
    assert (itself.status_code, itself.json()["content_key"]) == (200, odd_run.content_key)
    assert "results" in door.get(f"content-metadata/{odd_run.content_key}/{ending}/").json()


@pytest.mark.parametrize("ending", ["changes", "impact"])
@pytest.mark.parametrize(
    "since", ["\0", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday"]
)
@pytest.mark.on_every_engine
def test_an_instant_that_no_database_takes_is_refused(
    door: Door, content: ContentMetadata, ending: str, since: str
) -> None:
    answer = door.get(f"content-metadata/{content.content_key}/{ending}/", since=since)
    assert refusal_of(answer) == (400, "invalid_request")
    assert refusal_of(changes(door, content, field="\0")) == (400, "invalid_request")


# -- Impact -------------------------------------------------------------------------------------------------


def test_a_moved_end_of_enrolment_shows_the_old_and_new_deadline_with_both_reasons(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given(budget, content)
    assignment = LearnerContentAssignment.objects.get()
    change = changed(run_of(content), "enroll_by", None, NOW + 5 * DAY)

    answer = impact_on(door, content)

    [row] = answer["results"]
    assert row["uuid"] == str(assignment.uuid)
    assert row["policy_uuid"] == str(budget.uuid)
    assert row["content_quantity"] == -PRICE
    assert row["touches"] == [
        {
            "change": change.pk,
            "field": "enroll_by",
            "effect": "deadline",
            "old": "2026-05-21T09:00:00Z",
            "new": "2026-03-07T09:00:00Z",
            "old_reason": "NINETY_DAYS_PASSED",
            "new_reason": "ENROLLMENT_DATE_PASSED",
        }
    ]
    assert [one["id"] for one in answer["changes"]] == [change.pk]
    assert (answer["more_changes"], answer["since"]) == (False, "2026-01-31T09:00:00Z")


@pytest.mark.parametrize("nearer", ["age", "budget", "due_date"])
def test_where_another_date_comes_first_the_deadline_was_not_touched(door: Door, nearer: str) -> None:
    content, soon = given_content(), NOW + DAY
    customer = given_customer()
    terms: dict[str, Any] = {"age": {"allocation_age_days": 11}, "budget": {"ends_at": soon}, "due_date": {}}
    more: dict[str, Any] = {"due_date": soon} if nearer == "due_date" else {}
    allocate(given_budget(customer=customer, **terms[nearer]), content, ALICE, now=BEFORE, **more)
    given(given_budget(customer=customer), content, BOB)
    changed(run_of(content), "enroll_by", NOW + 5 * DAY, NOW + 6 * DAY)

    answer = impact_on(door_of(Role.ADMINISTRATOR, customer=customer), content)

    assert list(touches(answer)) == [BOB]


def test_prices_dates_and_availability_are_shown_old_and_new(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given(budget, content)
    start, end = NOW + 20 * DAY, NOW + 60 * DAY
    for number, (field, old, new) in enumerate(
        [
            ("gone_at", None, NOW),
            ("membership", str(CATALOG), None),
            ("active", True, False),
            ("price_cents", PRICE, PRICE + 100),
            ("end_date", end, None),
            ("start_date", None, start),
            ("title", "Old", "New"),
        ]
    ):
        changed(content, field, old, new, at=NOW - number * DAY / 10)

    assert touches(impact_on(door, content))[ALICE] == [
        ("availability", True, False),
        ("availability", True, False),
        ("availability", True, False),
        ("price", PRICE, PRICE + 100),
        ("end", end.isoformat(), None),
        ("start", None, start.isoformat()),
    ]


@pytest.mark.on_every_engine
def test_a_change_touches_what_was_open_and_allocated_before_it_and_is_not_too_old(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given(budget, content, ALICE)
    given(budget, content, BOB, at=NOW + DAY)
    given(budget, content, "cancelled@learners.example")
    cancelled = LearnerContentAssignment.objects.get(learner_email__startswith="cancelled")
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=NOW)
    changed(content, "price_cents", 1, 2)
    changed(content, "price_cents", 0, 1, at=NOW - 31 * DAY)

    assert touches(impact_on(door, content)) == {ALICE: [("price", 1, 2)]}
    longer = impact_on(door, content, since="2026-01-01T00:00:00Z")
    assert len(longer["changes"]) == 2
    assert impact_on(door, content, since=(NOW + DAY).isoformat())["results"] == []
    refused = door.get(f"content-metadata/{content.content_key}/impact/", since="soon")
    assert refusal_of(refused) == (400, "invalid_request")


@pytest.mark.on_every_engine
def test_leaving_one_catalog_touches_the_budgets_of_that_catalog(
    door: Door, content: ContentMetadata
) -> None:
    given(given_budget(), content)
    changed(content, "membership", "00000000-0000-4000-8000-00000000ffff", None)

    assert touches(impact_on(door_of(Role.OPERATOR), content)) == {}
    changed(content, "membership", str(CATALOG), None)
    assert touches(impact_on(door_of(Role.OPERATOR), content)) == {ALICE: [("availability", True, False)]}


@pytest.mark.on_every_engine
def test_a_course_lists_changes_of_its_runs_and_a_run_its_own(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    one, other = (
        given_content(f"course-v1:R+T+{number}", parent=content, content_type=ContentType.COURSERUN)
        for number in (1, 2)
    )
    given(budget, one, ALICE)
    given(budget, other, BOB)
    changed(one, "price_cents", 1, 2)
    changed(content, "price_cents", 5, 6)
    for row in (content, one, other):  # a run that is named by its course leaves a catalog with it
        changed(row, "membership", str(CATALOG), None)

    gone = ("availability", True, False)
    assert touches(impact_on(door, content)) == {ALICE: [gone, ("price", 1, 2)], BOB: [gone]}
    assert touches(impact_on(door, one)) == {ALICE: [gone, ("price", 1, 2)]}
    assert touches(impact_on(door, other)) == {BOB: [gone]}


def test_administrators_see_their_own_operators_all_and_learners_nothing(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given(budget, content, ALICE)
    given(given_budget(), content, BOB)
    changed(content, "price_cents", 1, 2)

    assert set(touches(impact_on(door, content))) == {ALICE}
    assert set(touches(impact_on(door_of(Role.OPERATOR), content))) == {ALICE, BOB}
    learner = door_of(Role.LEARNER, customer=budget.customer)
    address = f"content-metadata/{content.content_key}/impact/"
    assert refusal_of(learner.get(address)) == (403, "not_permitted")
    assert refusal_of(door_of(None).get(address)) == (403, "not_permitted")
    assert refusal_of(Door().get(address)) == (401, "not_signed_in")


@pytest.mark.on_every_engine
def test_of_many_changes_the_newest_are_listed(door: Door, budget: Budget, content: ContentMetadata) -> None:
    given(budget, content)
    for number in range(impact.MAX_CHANGES + 1):
        dates = (NOW, None) if number % 2 else (None, NOW)
        changed(run_of(content), "enroll_by", *dates)
        changed(content, "title", "a", "b")

    answer = impact_on(door, content)

    assert (len(answer["changes"]), answer["more_changes"]) == (impact.MAX_CHANGES, True)
    effects = [one["effect"] for one in answer["results"][0]["touches"]]
    assert effects.count("deadline") == impact.MAX_CHANGES


@pytest.mark.parametrize("count", [1, 8])
def test_the_impact_takes_ten_queries_however_much_there_is(
    door: Door,
    content: ContentMetadata,
    budget: Budget,
    count: int,
    django_assert_max_num_queries: MaxQueries,
) -> None:
    allocate(budget, content, *addresses(count), now=BEFORE)
    for number in range(count):
        changed(content, "price_cents", number, number + 1)
    with django_assert_max_num_queries(10):
        answer = impact_on(door, content)
    assert answer["count"] == count
    assert impact_on(door, content, page_size=3)["num_pages"] == (count + 2) // 3


def test_no_serializer_is_built_for_each_touch_as_a_page_may_have_thousands(
    door: Door, content: ContentMetadata, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    init = serializers.BaseSerializer.__init__

    def counting(self: Any, *args: Any, **more: Any) -> None:
        built.append(self)
        init(self, *args, **more)

    monkeypatch.setattr(serializers.BaseSerializer, "__init__", counting)

    def built_for(touches_each: int) -> int:
        changed(content, "price_cents", 1, 2)
        built.clear()
        rows = impact_on(door, content)["results"]
        assert {len(row["touches"]) for row in rows} == {touches_each}
        return len(built)

    allocate(budget, content, *addresses(3), now=BEFORE)
    impact_on(door, content)  # the first request loads the views, which declare serializers
    assert built_for(1) == built_for(2)
