"""What the administrator's list can be asked for: every filter finds its rows and no other."""

from uuid import uuid4

import pytest

from bursary.assignments.choices import LearnerState
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.api.cast import ANCHORS, BOATS, CRANES, DRIFT, names
from tests.api.door import Door, refusal_of
from tests.world import given_budget

pytestmark = pytest.mark.django_db

ALL = {ANCHORS, BOATS, CRANES, DRIFT}


@pytest.fixture
def budget(budget_of_the_cast: Budget) -> Budget:
    return Budget.objects.get(pk=budget_of_the_cast.pk)


@pytest.fixture
def door(door_of_the_cast: Door) -> Door:
    return door_of_the_cast


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("content_title", "Anchors & Moorings", {ANCHORS}),
        ("content_title", "anchors & moorings", set()),
        ("content_title__icontains", "A", {ANCHORS, BOATS, CRANES}),
        ("content_title__icontains", "BOATS", {BOATS}),
        ("content_title__in", "Anchors & Moorings,Cranes 100%_safe", {ANCHORS, CRANES}),
        ("content_start", "2026-04-01T00:00:00Z", {ANCHORS}),
        ("content_start", "2026-04-01T02:00:00+02:00", {ANCHORS}),
        ("content_start", "2026-04-01", {ANCHORS}),
        ("content_start__gte", "2026-04-02T00:00:00Z", {BOATS}),
        ("content_start__gte", "2026-04-01", {ANCHORS, BOATS}),
        ("content_start__lte", "2026-04-01T23:59:59Z", {ANCHORS}),
        ("content_end", "2026-05-01T00:00:00Z", {ANCHORS}),
        ("content_end__gte", "2026-05-01T00:00:00Z", {ANCHORS}),
        ("content_end__lte", "2026-04-30T00:00:00Z", {BOATS}),
        ("content_enroll_by", "2026-03-19T00:00:00Z", {BOATS}),
        ("content_enroll_by__gte", "2026-03-20T00:00:00Z", {ANCHORS}),
        ("content_enroll_by__lte", "2026-03-20T00:00:00Z", {ANCHORS, BOATS}),
        ("content_price_cents", "10000", {ANCHORS}),
        ("content_price_cents__gte", "10001", {BOATS}),
        ("content_price_cents__lte", "20000", {ANCHORS, BOATS}),
        ("content_price_cents__in", "10000,15000,20000", {ANCHORS, BOATS}),
        ("content_course_type", "executive-education", {BOATS}),
        ("content_course_type__icontains", "AUDIT", {ANCHORS}),
        ("content_course_type__in", "verified-audit,executive-education", {ANCHORS, BOATS}),
        ("content_partner", "Alpine School", {ANCHORS}),
        ("content_partner__icontains", "alpine", {ANCHORS, BOATS}),
        ("content_partner__in", "Alpine School,Zebra University", {ANCHORS}),
        ("content_key", f"RiversideX+{DRIFT}", {DRIFT}),
        ("content_key__in", f"RiversideX+{DRIFT},RiversideX+{BOATS}", {DRIFT, BOATS}),
        ("learner_email", "DORA@learners.example", {ANCHORS}),
        ("learner_email__in", "dora@learners.example,abel@learners.example", {ANCHORS, DRIFT}),
        ("lms_user_id", "1", {ANCHORS}),
        ("lms_user_id", "0", set()),
        ("lms_user_id__in", "1,4,9", {ANCHORS, DRIFT}),
        ("state", "allocated", {ANCHORS, BOATS}),
        ("state", "errored", set()),
        ("state__in", "allocated,errored", {ANCHORS, BOATS}),
        ("state__in", "expired,cancelled", {CRANES, DRIFT}),
        ("learner_state", "waiting", {ANCHORS}),
        ("learner_state__in", "waiting,failed", {ANCHORS, BOATS}),
        ("search", "boats", {BOATS}),
        ("search", "learners.example", ALL),
        ("search", "small learners", {BOATS}),
        ("search", "  dora   MOORINGS ", {ANCHORS}),
        ("search", "boats moorings", set()),
        ("search", "drift", set()),  # the title of content that is not known here
        ("search", "abel", {DRIFT}),
        ("search", "%", {CRANES}),
        ("search", "_", {CRANES}),
        ("search", "100%_safe", {CRANES}),
        ("search", "%100", set()),
        ("search", "\\", set()),
        ("search", "'; --", set()),
        ("content_title__icontains", "%", {CRANES}),
    ],
)
@pytest.mark.on_every_engine
def test_a_filter_finds_its_rows(door: Door, budget: Budget, name: str, value: str, found: set[str]) -> None:
    answer = door.assignments(budget, **{name: value})
    assert set(names(answer)) == found
    assert answer.json()["count"] == len(found)


@pytest.mark.on_every_engine
def test_what_ended_in_a_period_is_found_by_the_date_of_its_state(door: Door, budget: Budget) -> None:
    rows = LearnerContentAssignment.objects.filter(budget=budget)
    rows.update(accepted_at="2026-01-15T00:00:00Z")  # of an earlier cycle
    rows.filter(content_key__endswith=CRANES).update(expired_at="2026-03-31T21:59:59Z")
    rows.filter(content_key__endswith=DRIFT).update(cancelled_at="2026-04-01T00:00:00Z")

    assert set(names(door.assignments(budget, ended_at__gte="2026-01-01"))) == {CRANES, DRIFT}
    assert names(door.assignments(budget, ended_at__lte="2026-03-31")) == [CRANES]
    assert names(door.assignments(budget, ended_at__gte="2026-04-01T00:00:00Z")) == [DRIFT]


def test_filters_are_joined_by_and(door: Door, budget: Budget) -> None:
    answer = door.assignments(budget, state="allocated", content_partner__icontains="zebra", search="carl")
    assert names(answer) == [BOATS]


@pytest.mark.parametrize(
    "name",
    ["state", "state__in", "learner_state__in", "search", "content_title", "content_start__gte", "ordering"],
)
def test_a_filter_without_a_value_filters_nothing(door: Door, budget: Budget, name: str) -> None:
    assert set(names(door.assignments(budget, **{name: ""}))) == ALL


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "nope"),
        ("state", "ALLOCATED"),
        ("state__in", "allocated,nope"),
        ("learner_state", "nope"),
        ("learner_state", "errored"),
        ("learner_state__in", "waiting,nope"),
        ("content_start", "yesterday"),
        ("content_start__gte", "2026-13-01"),
        ("content_end__lte", "2026-02-30T00:00:00Z"),
        ("content_enroll_by__gte", "1e5"),
        ("content_enroll_by", "2026-03-19T25:00:00Z"),
        ("content_price_cents", "many"),
        ("content_price_cents__gte", "NaN"),
        ("content_price_cents__lte", "Infinity"),
        ("content_price_cents__in", "1,many"),
        ("lms_user_id", "ada"),
        ("lms_user_id__in", "1,ada"),
        ("ordering", "nope"),
        ("ordering", "pk"),
        ("ordering", "--content_title"),
        ("ordering", "content_title,nope"),
        ("search", "a\0b"),
        ("content_title", "\0"),
        ("content_title__icontains", "\0"),
        ("content_title__in", "a,\0"),
        ("content_partner", "\0"),
        ("content_course_type__in", "\0"),
        ("content_key", "\0"),
        ("content_key__in", "\0,a"),
        ("learner_email", "\0"),
        ("learner_email__in", "\0"),
        ("state", "\0"),
        ("lms_user_id", "\0"),
        ("content_start", "\0"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_by_its_name(
    door: Door, budget: Budget, name: str, value: str
) -> None:
    answer = door.assignments(budget, **{name: value})
    assert refusal_of(answer) == (400, "invalid_request")
    assert name in answer.json()


@pytest.mark.parametrize(
    "number", ["99999999999999999999", "9223372036854775808", "-1", "-99999999999999999999"]
)
@pytest.mark.parametrize("name", ["lms_user_id", "content_price_cents"])
@pytest.mark.on_every_engine
def test_a_number_beyond_the_column_finds_nothing(door: Door, budget: Budget, name: str, number: str) -> None:
    answer = door.assignments(budget, **{name: number})
    assert answer.status_code == 400 or names(answer) == []


def test_names_that_are_no_filters_are_refused_and_named(door: Door, budget: Budget) -> None:
    answer = door.assignments(budget, colour="red", content__payload="x", search="a")
    assert refusal_of(answer) == (400, "unknown_parameter")
    assert answer.json()["parameters"] == ["colour", "content__payload"]


def test_what_is_neither_true_nor_false_is_refused(door: Door, budget: Budget) -> None:
    for value, found in (("true", 0), ("False", 4), ("1", 0), ("0", 4), ("", 4)):
        assert len(names(door.assignments(budget, declined=value))) == found
    answer = door.assignments(budget, declined="perhaps")
    assert refusal_of(answer) == (400, "invalid_request")
    assert answer.json()["declined"] == ["Give true or false."]


def test_another_budgets_assignments_are_never_found(door: Door, budget: Budget) -> None:
    other = given_budget(customer=budget.customer)
    assert names(door.assignments(other, search="dora")) == []
    assert names(door.assignments(other, content_key__in=f"RiversideX+{ANCHORS},{uuid4()}")) == []


@pytest.mark.on_every_engine
def test_learner_states_are_counted_over_the_filtered_set_most_common_first(
    door: Door, budget: Budget
) -> None:
    LearnerContentAssignment.objects.filter(content_key=f"RiversideX+{BOATS}").update(
        learner_state=LearnerState.WAITING
    )
    body = door.assignments(budget, page_size=1).json()
    assert body["learner_state_counts"] == [
        {"learner_state": "waiting", "count": 2},
        {"learner_state": "expired", "count": 1},
    ]
    assert body["count"] == 4  # also those that have no learner state

    narrower = door.assignments(budget, search="boats").json()
    assert narrower["learner_state_counts"] == [{"learner_state": "waiting", "count": 1}]
    assert door.assignments(budget, state="errored").json()["learner_state_counts"] == []


@pytest.mark.parametrize(
    ("name", "date", "meant"),
    [
        ("content_start__gte", "2026-04-01", "2026-04-01T00:00:00+02:00"),
        ("content_start__lte", "2026-04-01", "2026-04-01T23:59:59+02:00"),
        ("content_start", "2026-04-01", "2026-04-01T00:00:00+02:00/2026-04-01T23:59:59+02:00"),
        ("content_start__gte", "2026-04-01T12:00", "2026-04-01T12:00:00+02:00"),
    ],
)
def test_a_date_is_meant_where_the_organisation_is_and_the_answer_says_what_was_understood(
    door: Door, budget: Budget, name: str, date: str, meant: str
) -> None:
    assert door.assignments(budget, **{name: date}).json()["understood"] == {name: meant}
    assert "understood" not in door.assignments(budget).json()


def test_a_date_that_cannot_be_read_is_answered_with_the_formats(door: Door, budget: Budget) -> None:
    [problem] = door.assignments(budget, content_start__gte="1.4.2026").json()["content_start__gte"]
    assert "2027-06-30T17:00+02:00" in problem
