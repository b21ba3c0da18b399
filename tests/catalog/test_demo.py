import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from bursary.catalog.demo.shift import COURSES, courses, shift_dates, weeks_to_today
from bursary.catalog.parser import Content, parse

Record = dict[str, Any]

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shifted"),
    [
        ("2026-11-21T22:52:32.328281Z", "2026-12-05T22:52:32.328281Z"),
        ("2026-12-24T04:00:00Z", "2027-01-07T04:00:00Z"),
        ("2024-02-15T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2026-12-13 23:59:59Z", "2026-12-27 23:59:59Z"),
        ("2026-12-13 23:59", "2026-12-27 23:59"),
        ("2026-03-01T05:30:00+05:30", "2026-03-15T05:30:00+05:30"),
        ("2026-03-01", "2026-03-01"),
        ("starts 2026-11-21T22:52:32Z", "starts 2026-11-21T22:52:32Z"),
        ("2026-11-45T00:00:00Z", "2026-11-45T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("course-v1:GlobeX+C109+2T2024a", "course-v1:GlobeX+C109+2T2024a"),
    ],
)
def test_a_shifted_date_keeps_its_spelling(text: str, shifted: str) -> None:
    assert shift_dates({"a": [{"b": text}]}, weeks=2) == {"a": [{"b": shifted}]}


def test_shifting_leaves_the_original_and_everything_else_alone() -> None:
    original: Record = {"price": 149.0, "n": None, "ok": True, "start": "2026-11-21T00:00:00Z"}
    assert shift_dates(original, weeks=0) == original
    assert shift_dates(original, weeks=1) == original | {"start": "2026-11-28T00:00:00Z"}
    assert original["start"] == "2026-11-21T00:00:00Z"


@pytest.mark.parametrize(
    ("now", "weeks"),
    [
        (NOON, 0),
        (NOON - timedelta(days=400), 0),
        (NOON + timedelta(days=6), 0),
        (NOON + timedelta(days=7), 1),
        (NOON + timedelta(days=20), 2),
        (datetime(2026, 11, 28, 1, tzinfo=timezone(timedelta(hours=5))), 0),
    ],
)
def test_weeks_are_whole_rounded_down_and_never_negative(now: datetime, weeks: int) -> None:
    assert weeks_to_today(now) == weeks


def test_the_reference_day_may_be_another() -> None:
    assert weeks_to_today(NOON, reference=date(2026, 1, 1)) == 46


def test_the_sample_has_the_content_that_was_recorded(contents: list[Content]) -> None:
    sample = [parse(record) for record in courses(now=NOON)]
    assert [content.digest for content in sample] == [content.digest for content in contents]


def test_in_three_years_the_sample_is_as_alive_as_it_was() -> None:
    weeks, later = timedelta(weeks=156), NOON + timedelta(weeks=156, days=3)
    for record, shifted in zip(courses(now=NOON), courses(now=later), strict=True):
        old, new = parse(record), parse(shifted)
        assert (new.content_key, new.price_cents, new.active) == (
            old.content_key,
            old.price_cents,
            old.active,
        )
        assert new.start_date == (old.start_date and old.start_date + weeks)
        assert new.enroll_by == (old.enroll_by and old.enroll_by + weeks)
        assert new.upstream_modified is not None
        assert new.upstream_modified < later


def test_its_links_name_no_organisation_but_the_demonstrations() -> None:
    text = COURSES.read_text(encoding="utf-8")
    named = set(re.findall(r"https://enterprise\.example\.org/([^/]+)/", text))
    assert named == {"larkspur-logistics"}
    assert set(re.findall(r"utm_medium=enterprise&utm_source=([\w-]+)", text)) == {"larkspur-logistics"}
