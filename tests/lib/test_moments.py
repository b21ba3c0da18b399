"""Instants as people write them: what each text means, in which zone, and what is refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import translation

from bursary.lib import moments

MADRID = ZoneInfo("Europe/Madrid")


@pytest.mark.parametrize(
    ("text", "end_of_day", "instant"),
    [
        ("2027-06-30", True, datetime(2027, 6, 30, 21, 59, 59, tzinfo=UTC)),
        ("2027-06-30", False, datetime(2027, 6, 29, 22, 0, tzinfo=UTC)),
        ("20270630", True, datetime(2027, 6, 30, 21, 59, 59, tzinfo=UTC)),
        (" 2027-01-31 ", True, datetime(2027, 1, 31, 22, 59, 59, tzinfo=UTC)),
        ("2027-06-30T17:00", True, datetime(2027, 6, 30, 15, 0, tzinfo=UTC)),
        ("2027-06-30 17:00:30", True, datetime(2027, 6, 30, 15, 0, 30, tzinfo=UTC)),
        ("2027-06-30T00:00", True, datetime(2027, 6, 29, 22, 0, tzinfo=UTC)),
        ("2027-06-30T17:00Z", True, datetime(2027, 6, 30, 17, 0, tzinfo=UTC)),
        ("2027-06-30T17:00-05:00", False, datetime(2027, 6, 30, 22, 0, tzinfo=UTC)),
    ],
)
def test_a_text_means_one_instant(text: str, end_of_day: bool, instant: datetime) -> None:
    assert moments.parse(text, zone=MADRID, end_of_day=end_of_day) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "30.6.2027",
        "2027-02-30",
        "17:00",
        "2027-06-30T25:00",
        "1e5",
        "1798675200",
        "2027-06-30\0",
        "2027-06-30+02:00",
        "2027-06-30-05:00",
        "2027-06-30_17:00",
    ],
)
def test_what_is_no_date_is_refused_with_the_formats_and_the_zone(text: str) -> None:
    with pytest.raises(moments.MomentUnreadable) as refused:
        moments.parse(text, zone=MADRID, end_of_day=True)

    for part in ("2027-06-30)", "2027-06-30T17:00)", "2027-06-30T17:00+02:00", "Europe/Madrid"):
        assert part in str(refused.value)


def test_a_day_ends_with_its_last_hour_where_clocks_are_set_back_at_midnight() -> None:
    santiago = ZoneInfo("America/Santiago")  # on 3 April 2027, 23:00 to 24:00 comes twice

    end = moments.parse("2027-04-03", zone=santiago, end_of_day=True)

    assert end == datetime(2027, 4, 4, 3, 59, 59, tzinfo=UTC)
    assert end.timestamp() + 1 == moments.parse("2027-04-04", zone=santiago, end_of_day=False).timestamp()


@pytest.mark.parametrize(
    "text", ["1899-12-31", "9000-01-02", "0001-01-01T00:00+14:00", "9999-12-31T23:00-14:00"]
)
def test_a_date_that_calendars_cannot_compute_with_is_refused(text: str) -> None:
    with pytest.raises(moments.MomentUnreadable):
        moments.parse(text, zone=MADRID, end_of_day=False)


def test_an_instant_is_shown_in_a_zone_that_is_named() -> None:
    instant = datetime(2027, 6, 30, 22, 30, tzinfo=UTC)

    assert moments.in_words(instant, zone=MADRID) == "Thursday, 1 July 2027, 00:30 (Madrid time)"
    assert moments.in_words(instant, zone=moments.UTC_ZONE) == "Wednesday, 30 June 2027, 22:30 (UTC)"
    assert moments.iso(instant, zone=MADRID) == "2027-07-01T00:30:00+02:00"


@pytest.mark.parametrize(
    ("days", "words"),
    [(0.9, "21 hours"), (1.4, "1 day"), (2.4, "2 days"), (20.96, "21 days"), (56, "56 days")],
)
def test_a_span_is_in_days_that_do_not_round_down(days: float, words: str) -> None:
    start = datetime(2026, 9, 28, tzinfo=UTC)
    assert moments.span_in_words(start, start + timedelta(days=days)).replace("\xa0", " ") == words


def test_a_long_span_is_in_two_units() -> None:
    start = datetime(2026, 9, 28, tzinfo=UTC)
    assert (
        moments.span_in_words(start, start + timedelta(days=75)).replace("\xa0", " ") == "2 months, 2 weeks"
    )


@pytest.mark.parametrize("language", ["ar", "fa", "he", "ur"])
def test_from_right_to_left_a_date_keeps_the_direction_of_its_own_letters(language: str) -> None:
    instant = datetime(2027, 6, 30, 22, 30, tzinfo=UTC)
    with translation.override(language):
        dates = [
            moments.in_words(instant, zone=MADRID),
            moments.day_in_words(instant, zone=MADRID),
            moments.dated(instant),
        ]
    assert [(one[0], one[-1]) for one in dates] == [("\u2068", "\u2069")] * 3
    assert "\u2068" not in moments.in_words(instant, zone=MADRID) + moments.dated(instant)
