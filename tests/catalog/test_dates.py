from datetime import UTC, datetime, timedelta

import pytest

from bursary.catalog.dates import NotADate, instant


@pytest.mark.parametrize(
    "spelling",
    [
        "2026-03-01T00:00:00Z",
        "2026-03-01T00:00:00.000000Z",
        "2026-03-01 00:00:00Z",
        "2026-03-01T00:00:00+00:00",
        "2026-03-01T05:30:00+05:30",
        "2026-02-28T19:00:00-0500",
        "2026-03-01T00:00Z",
        "2026-03-01T00:00:00",
        "2026-03-01",
        " 2026-03-01T00:00:00Z ",
    ],
)
def test_one_instant_in_any_spelling_is_the_same_instant_in_utc(spelling: str) -> None:
    moment = instant(spelling)
    assert moment == datetime(2026, 3, 1, tzinfo=UTC)
    assert moment.utcoffset() == timedelta(0)


NOT_DATES = [
    "",
    "TBD",
    "March 1, 2026",
    "2026-13-01T00:00:00Z",
    "2026-02-30",
    "2026-03-01T00:00:60Z",
    "9" * 1000,
]
NOT_EVEN_TEXT = [1772323200, 1772323200000, 1.5, True, [], {}]


@pytest.mark.parametrize("value", [*NOT_DATES, *NOT_EVEN_TEXT])
def test_what_is_not_a_date_is_refused(value: object) -> None:
    with pytest.raises(NotADate, match="is not a date"):
        instant(value)


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1899-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        "9998-12-31T23:59:59-00:01",
    ],
)
def test_a_date_that_a_time_zone_could_push_out_of_the_calendar_is_refused(value: str) -> None:
    with pytest.raises(NotADate, match="lies outside the years 1900 to 9998"):
        instant(value)


@pytest.mark.parametrize(
    "value", ["1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9998-12-31T23:59:59.999999Z"]
)
def test_early_and_late_dates_that_fit_are_kept(value: str) -> None:
    assert instant(value) == datetime.fromisoformat(value)
