"""What can be joined: runs by their own terms, courses by their runs, and upstream's records of both."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bursary.catalog import parser
from bursary.replica.joining import (
    JoiningRefusal,
    JoiningTerms,
    NotJoinable,
    RunTerms,
    join_by,
    joining_terms,
)
from tests.replica.listing import DATA, recorded

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
BEFORE = NOW + 90 * DAY  # when the allocation would end by its age
SECOND = timedelta(seconds=1)

OPEN = RunTerms(
    key="R1",
    offered=True,
    enrollable=True,
    start=None,
    end=None,
    enroll_start=None,
    enroll_by=None,
    price_cents=5000,
)


def outcome(*runs: RunTerms, advertised: str = "") -> JoiningTerms | tuple[JoiningRefusal, str]:
    """Return the terms, or the reason and the run that it is given for."""
    try:
        return joining_terms(runs, advertised=advertised, now=NOW, must_open_before=BEFORE)
    except NotJoinable as refused:
        return refused.reason, refused.run.key if refused.run else ""


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, None),
        ({"offered": False}, JoiningRefusal.NOT_ACTIVE),
        ({"end": NOW}, JoiningRefusal.ENDED),
        ({"end": NOW + SECOND}, None),
        ({"end": NOW, "enroll_by": NOW + DAY}, JoiningRefusal.ENDED),
        ({"end": NOW, "offered": False}, JoiningRefusal.NOT_ACTIVE),
        ({"enroll_by": NOW}, JoiningRefusal.NOT_IN_TIME),
        ({"enroll_by": NOW + SECOND}, None),
        ({"enroll_start": NOW - DAY}, None),
        ({"enroll_start": BEFORE - SECOND}, None),
        ({"enroll_start": BEFORE}, JoiningRefusal.NOT_IN_TIME),
        # Enrolment that closes before it opens.
        ({"enroll_start": NOW + 2 * DAY, "enroll_by": NOW + DAY}, JoiningRefusal.NOT_IN_TIME),
        ({"enroll_start": NOW + DAY, "end": NOW + DAY}, JoiningRefusal.NOT_IN_TIME),
        ({"enroll_start": NOW + DAY - SECOND, "end": NOW + DAY}, None),
        # Upstream's flag is as old as its last sync: dates say more.
        ({"enrollable": False}, JoiningRefusal.NOT_ACTIVE),
        ({"enrollable": False, "enroll_start": NOW + DAY}, None),
        ({"enrollable": False, "enroll_by": NOW + DAY}, None),
        ({"enrollable": False, "end": NOW + DAY}, JoiningRefusal.NOT_ACTIVE),
        ({"enrollable": True, "enroll_by": NOW}, JoiningRefusal.NOT_IN_TIME),
    ],
)
def test_a_run_can_be_joined_if_it_is_offered_not_over_and_open_for_enrolment_in_time(
    changes: dict[str, Any], refused: JoiningRefusal | None
) -> None:
    run = replace(OPEN, **changes)

    assert outcome(run) == ((refused, "R1") if refused else JoiningTerms("R1", 5000, run.closes))
    assert not replace(run, offered=False).opens_before(BEFORE)


@pytest.mark.parametrize(
    ("enroll_by", "end", "closes"),
    [
        (None, None, None),
        (NOW, None, NOW),
        (None, NOW, NOW),
        (NOW, NOW + DAY, NOW),
        (NOW + DAY, NOW, NOW),
    ],
)
def test_enrolment_closes_by_the_enrol_by_date_or_an_earlier_end(
    enroll_by: datetime | None, end: datetime | None, closes: datetime | None
) -> None:
    assert replace(OPEN, enroll_by=enroll_by, end=end).closes == closes


OVER = replace(OPEN, key="OVER", end=NOW - DAY, price_cents=1)
SPRING = replace(OPEN, key="SPRING", start=NOW + 60 * DAY, enroll_by=NOW + 70 * DAY, price_cents=2)
AUTUMN = replace(OPEN, key="AUTUMN", start=NOW + 300 * DAY, enroll_by=NOW + 290 * DAY, price_cents=3)
UNDATED = replace(OPEN, key="UNDATED", price_cents=4)


@pytest.mark.parametrize(
    ("runs", "advertised", "expected"),
    [
        ((OVER, SPRING, AUTUMN), "AUTUMN", JoiningTerms("AUTUMN", 3, AUTUMN.enroll_by)),
        ((OVER, SPRING, AUTUMN), "OVER", JoiningTerms("SPRING", 2, AUTUMN.enroll_by)),
        ((AUTUMN, SPRING), "", JoiningTerms("SPRING", 2, AUTUMN.enroll_by)),
        ((UNDATED, SPRING), "", JoiningTerms("SPRING", 2, None)),
        ((UNDATED,), "", JoiningTerms("UNDATED", 4, None)),
    ],
)
def test_a_course_costs_what_its_advertised_run_does_or_the_first_that_can_be_joined(
    runs: tuple[RunTerms, ...], advertised: str, expected: JoiningTerms
) -> None:
    assert outcome(*runs, advertised=advertised) == expected


LATE = replace(OPEN, key="LATE", enroll_start=BEFORE + DAY)
HIDDEN = replace(OPEN, key="HIDDEN", offered=False)
CLOSED = replace(OPEN, key="CLOSED", enroll_by=NOW - DAY)
NEVER_OPEN = replace(OPEN, key="NEVER_OPEN", enroll_start=NOW + 80 * DAY, enroll_by=NOW + 75 * DAY)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((), (JoiningRefusal.NOT_ACTIVE, "")),
        ((HIDDEN,), (JoiningRefusal.NOT_ACTIVE, "HIDDEN")),
        # Of those alike, the last to close.
        ((HIDDEN, replace(HIDDEN, key="SOONER", enroll_by=NOW + DAY)), (JoiningRefusal.NOT_ACTIVE, "HIDDEN")),
        ((HIDDEN, OVER), (JoiningRefusal.ENDED, "OVER")),
        ((LATE, OVER, HIDDEN), (JoiningRefusal.NOT_IN_TIME, "LATE")),
        ((CLOSED, LATE), (JoiningRefusal.NOT_IN_TIME, "LATE")),
    ],
)
def test_of_a_courses_runs_the_refusal_is_that_of_the_nearest(
    runs: tuple[RunTerms, ...], expected: tuple[JoiningRefusal, str]
) -> None:
    assert outcome(*runs) == outcome(*reversed(runs)) == expected


def test_a_refusal_can_be_copied_with_its_reason_and_its_run() -> None:
    """Processes pass an error on by its arguments."""
    assert NotJoinable(JoiningRefusal.ENDED, OVER).args == (JoiningRefusal.ENDED, OVER)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((SPRING, AUTUMN), AUTUMN.enroll_by),
        ((SPRING, OVER, CLOSED), SPRING.enroll_by),
        ((SPRING, LATE), SPRING.enroll_by),  # it opens too late for this allocation
        ((SPRING, NEVER_OPEN), SPRING.enroll_by),
        ((OVER, CLOSED), CLOSED.enroll_by),  # passed, and that is when they closed
        ((SPRING, UNDATED), None),
        ((SPRING, replace(AUTUMN, offered=False)), SPRING.enroll_by),
        # Nothing can be joined now, and not all is over: what is hidden may be offered again.
        ((OVER, CLOSED, replace(SPRING, offered=False)), SPRING.enroll_by),
        ((OVER, HIDDEN), None),
        ((OVER, LATE), None),
        ((OVER, replace(UNDATED, enrollable=False)), None),
        ((OVER, replace(CLOSED, offered=False)), CLOSED.enroll_by),  # all of it has passed, offered or not
        ((), NOW + DAY),
    ],
)
def test_a_course_is_joined_by_the_last_close_of_what_opens_in_time(
    runs: tuple[RunTerms, ...], expected: datetime | None
) -> None:
    assert join_by(runs, now=NOW, must_open_before=BEFORE, otherwise=NOW + DAY) == expected
    assert (
        join_by((), now=NOW, must_open_before=BEFORE, otherwise=NOW) is None
    )  # nothing shows that it is over


JOINABLE = [
    ("EndX+1", (JoiningRefusal.ENDED, "course-v1:EndX+1+R1")),
    ("UnpX+1", (JoiningRefusal.NOT_ACTIVE, "course-v1:UnpX+1+R1")),
    ("EarlyX+1", (JoiningRefusal.NOT_IN_TIME, "course-v1:EarlyX+1+R1")),
    ("SoonX+1", JoiningTerms("course-v1:SoonX+1+R1", 7000, datetime(2027, 5, 1, tzinfo=UTC))),
    ("RevX+1", JoiningTerms("course-v1:RevX+1+R1", 6200, datetime(2028, 5, 1, tzinfo=UTC))),
    ("LateX+1", JoiningTerms("course-v1:LateX+1+R1", 5500, datetime(2027, 1, 10, tzinfo=UTC))),
    ("OtherX+1", JoiningTerms("course-v1:OtherX+1+NEW", 3500, datetime(2027, 3, 1, tzinfo=UTC))),
]


@pytest.mark.parametrize(("key", "expected"), JOINABLE)
def test_upstreams_records_are_joined_or_refused(
    key: str, expected: JoiningTerms | tuple[JoiningRefusal, str]
) -> None:
    [record] = [one for one in recorded_joinable() if one["key"] == key]
    course = parser.parse(record)
    runs = [RunTerms.of(run) for run in course.runs]
    assert [run.start for run in runs] == [run.start_date for run in course.runs]

    assert outcome(*runs, advertised=course.advertised_run) == expected
    if len(runs) == 1:
        assert outcome(*runs) == expected


def recorded_joinable() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "cases" / "joinable.jsonl").read_text().splitlines()]


def test_a_recorded_course_costs_its_own_price_where_its_advertised_run_can_be_joined() -> None:
    """The normalized price of a course is its advertised run's."""
    joined = 0
    for record in recorded("courses"):
        course = parser.parse(record)
        terms = outcome(*map(RunTerms.of, course.runs), advertised=course.advertised_run)
        if isinstance(terms, JoiningTerms) and terms.run_key == course.advertised_run:
            assert terms.price_cents == course.price_cents
            joined += 1
    assert joined > 50
