"""Lists and instants of PostgreSQL are those that the driver and Django write and read."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import DataError, connection, transaction
from django.db.models import Value
from django.db.models.functions import Lower
from django.test.utils import CaptureQueriesContext

from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests import world

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.only_on("postgresql", because="it reads what PostgreSQL sends"),
]


@pytest.mark.parametrize(
    "written",
    [
        *("2026-11-27 12:00:00+00", "2026-11-27 12:00:00.5+00", "2026-11-27 12:00:00.123456+00"),
        *("0099-03-02 00:00:00+00", "9999-12-31 23:59:59.999999+00", "2026-11-27 12:00:00+05:30"),
    ],
)
def test_an_instant_is_read_in_utc(written: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::timestamptz, ARRAY[%s::timestamptz], NULL::timestamptz", [written] * 2)
        one, several, none = cursor.fetchone()
    assert one == datetime.fromisoformat(written)
    assert one.tzinfo is UTC
    assert (several, none) == ([one], None)


def test_what_is_no_instant_of_pythons_is_an_error() -> None:
    for written in ("infinity", "10000-01-01", "0099-03-02 BC"):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT %s::timestamptz", [written])
            with pytest.raises(DataError):
                cursor.fetchone()


@pytest.mark.parametrize(
    "texts",
    [
        ["plain", "", " ", "NULL", "null"],
        ['"', "\\", '\\"', '","', "{a,b}", "'; --", "%s"],
        ["line\nbreak", "tab\t", "é", "\u2028", "\U0001f600"],
        ["alone"],
        [""],
        [],
        ["with", None, ""],
        [["of", "lists"], ["two", ""]],
    ],
    ids=repr,
)
def test_a_list_of_texts_is_what_was_given(texts: list[object]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[], 'plain' = ANY(%s::text[])", [texts, texts])
        assert cursor.fetchone() == (texts, None if None in texts else "plain" in texts)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int[]", [1, -2, 0]),
        ("bigint[]", [1, 2**63 - 1, -(2**63)]),
        ("numeric[]", [2**80]),
        ("uuid[]", [UUID(int=0), UUID("b1c7f0de-6f3e-4f0e-8a53-2f2f7f1a9d10")]),
        ("timestamptz[]", [datetime(2026, 11, 28, 12, 0, 0, 5, tzinfo=UTC), datetime(99, 3, 2, tzinfo=UTC)]),
        ("timestamptz[]", [datetime(2026, 11, 28, 12, tzinfo=ZoneInfo("Asia/Kolkata"))]),
        ("timestamp[]", [datetime(2026, 11, 28, 12)]),  # noqa: DTZ001  # without a time zone
        ("boolean[]", [True, False]),
        ("int[]", [1, None]),
        ("uuid[]", [None, UUID(int=0)]),
        ("timestamptz[]", [None, datetime(2026, 11, 28, 12, tzinfo=UTC), None]),
        ("varchar[]", [State.ALLOCATED, State.ACCEPTED, "plain"]),
        ("varchar[]", [State.ALLOCATED, None]),
        ("int[]", [None, None]),
        ("date[]", [date(2026, 11, 28)]),
        ("int[]", [[1, 2], [3, 4]]),
    ],
    ids=repr,
)
def test_a_list_of_something_else_is_what_was_given(kind: str, values: list[object]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}", [values])
        assert cursor.fetchone() == (values,)


def test_a_text_that_the_database_cannot_hold_is_an_error() -> None:
    for texts in (["a\0b"], ["a\0b", "c"], ["\0"]):
        with transaction.atomic(), connection.cursor() as cursor, pytest.raises(DataError):
            cursor.execute("SELECT %s::text[]", [texts])


@pytest.mark.parametrize("largest", [9, 40_000, 2**31])
def test_a_list_of_numbers_has_the_type_of_keys_in_which_a_value_is_found_by_its_hash(largest: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_typeof(%s)::text", [[1, largest]])
        assert cursor.fetchone() == ("bigint[]",)


def test_of_ten_values_or_more_the_driver_is_given_one_list_which_finds_the_same() -> None:
    world.allocate(world.given_budget(seats=12), world.given_content(), *world.addresses(12))
    some = list(LearnerContentAssignment.objects.all()[:11])
    assignments, actions = LearnerContentAssignment.objects, LearnerContentAssignmentAction.objects
    pks, addresses = [one.pk for one in some], [one.learner_email for one in some]

    for expected, rows in (
        (11, assignments.filter(pk__in=pks)),
        (11, assignments.filter(pk__in={*pks, None})),
        (1, assignments.exclude(uuid__in=[one.uuid for one in some])),
        (11, assignments.filter(learner_email__in=addresses, state__in=list(State))),
        (11, assignments.filter(price_cents__in=range(19_895, 19_906), pk__in=pks)),
        (12, assignments.filter(allocated_at__in=[world.NOW + timedelta(days=day) for day in range(10)])),
        (11, assignments.annotate(low=Lower("learner_email")).filter(low__in=addresses)),
        (11, actions.filter(assignment__in=some, action_type=ActionType.ALLOCATED)),
        (11, actions.filter(assignment__learner_email__in=addresses, action_type=ActionType.ALLOCATED)),
        (1, actions.exclude(assignment__in=pks).filter(action_type=ActionType.ALLOCATED)),
    ):
        with CaptureQueriesContext(connection) as queries:
            found = rows.count()
        [statement] = queries.captured_queries
        assert (found, "= ANY(" in statement["sql"]) == (expected, True), statement["sql"]

    assert assignments.filter(pk__in=[]).count() == 0
    assert "ANY" not in str(assignments.filter(pk__in=pks[:9]).query)


def test_a_list_of_numbers_may_have_one_beyond_its_column_and_values_of_several_types() -> None:
    world.allocate(world.given_budget(seats=1), world.given_content(), "ada@example.com")
    actions = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.ALLOCATED)

    several: list[list[Any]] = [
        [*range(10), 2**40],
        [*range(10), 2**70],
        [*map(Value, range(10)), Value(1.5)],
        [*map(Value, range(10)), Value(Decimal("1.5"))],
    ]
    for values in several:
        assert actions.filter(cycle__in=values).count() == 1
        assert actions.exclude(cycle__in=values).count() == 0
