"""Lists and instants of PostgreSQL are those that the driver and Django write and read."""

from datetime import UTC, date, datetime

import pytest
from django.db import DataError, connection, transaction

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


def test_a_list_of_something_else_is_what_was_given() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::int[], %s::date[]", [[1], [date(2026, 11, 28)]])
        assert cursor.fetchone() == ([1], [date(2026, 11, 28)])


def test_a_text_that_the_database_cannot_hold_is_an_error() -> None:
    for texts in (["a\0b"], ["a\0b", "c"], ["\0"]):
        with transaction.atomic(), connection.cursor() as cursor, pytest.raises(DataError):
            cursor.execute("SELECT %s::text[]", [texts])
