"""Dates and prices in all the spellings that upstream serves."""

from datetime import UTC, datetime, timedelta

import pytest

from bursary.catalog.values import MAX_CENTS, UnusableValue, cents, instant

# -- Dates --------------------------------------------------------------------------------------------------


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
    with pytest.raises(UnusableValue, match="is not a date"):
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
    with pytest.raises(UnusableValue, match="lies outside the years 1900 to 9998"):
        instant(value)


@pytest.mark.parametrize(
    "value", ["1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "9998-12-31T23:59:59.999999Z"]
)
def test_early_and_late_dates_that_fit_are_kept(value: str) -> None:
    assert instant(value) == datetime.fromisoformat(value)


# -- Prices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [
        (149.0, 14900),
        (149.1, 14910),
        (0.29, 29),
        (149, 14900),
        ("149.50", 14950),
        (" 2900.00 ", 290000),
        ("1.495E+2", 14950),
        (".5", 50),
        (0.0, 0),
        (-0.0, 0),
        ("0.00", 0),
        (10_000_000, MAX_CENTS),
    ],
)
def test_dollars_become_exact_cents(dollars: object, expected: int) -> None:
    assert cents(dollars) == expected


@pytest.mark.parametrize(
    ("dollars", "expected"), [("0.005", 1), ("149.994", 14999), ("149.995", 15000), (1.005, 101)]
)
def test_half_a_cent_rounds_up(dollars: object, expected: int) -> None:
    assert cents(dollars) == expected


@pytest.mark.parametrize("value", ["1,299.00", "1.299,00", "1_299", "$149", "free", "", "١٤٩", "9" * 65])
def test_text_that_is_not_a_plain_number_is_refused_not_guessed_at(value: str) -> None:
    with pytest.raises(UnusableValue, match="is not a price"):
        cents(value)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), "NaN", "Infinity", True, [], {}]
)
def test_what_is_no_amount_at_all_is_refused(value: object) -> None:
    with pytest.raises(UnusableValue, match="is not a price"):
        cents(value)


@pytest.mark.parametrize("value", [-199, -199.0, "-0.01"])
def test_a_negative_price_is_refused(value: object) -> None:
    with pytest.raises(UnusableValue, match="is negative"):
        cents(value)


@pytest.mark.parametrize(
    "value", [10_000_001, "10000000.01", 1e300, "1e999", pytest.param(10**5000, id="enormous")]
)
def test_an_absurd_price_is_refused_before_it_reaches_a_column(value: object) -> None:
    with pytest.raises(UnusableValue, match="is more than any course costs"):
        cents(value)


def test_a_price_too_small_for_a_cent_does_not_become_free() -> None:
    with pytest.raises(UnusableValue, match="is less than a cent"):
        cents("0.001")
