"""The sample's courses as if they had been recorded today: all dates are moved by the same whole weeks."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

RECORDED_ON: Final = date(2026, 11, 21)
RECORDED_FOR: Final = "larkspur-logistics"
"""The organisation's slug in the links of the recorded courses."""
COURSES: Final = Path(__file__).with_name("courses.jsonl")

_DAY_AND_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"([T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)"
)


def courses(*, now: datetime, slug: str = RECORDED_FOR) -> Iterator[dict[str, object]]:
    """Stream the 200 sample records as upstream serves them, moved to `now` and with links of `slug`."""
    weeks = weeks_to_today(now)
    with COURSES.open(encoding="utf-8") as lines:
        for line in lines:
            yield shift_dates(json.loads(line.replace(RECORDED_FOR, slug)), weeks=weeks)


def weeks_to_today(now: datetime, *, reference: date = RECORDED_ON) -> int:
    """Return the whole weeks from the reference day to `now` (aware), rounded down; 0 before that day.

    Whole weeks, so that a course that starts on a Monday still does.
    """
    return max(0, (now.astimezone(UTC).date() - reference).days // 7)


def shift_dates(payload: dict[str, object], *, weeks: int) -> dict[str, object]:
    """Return a copy in which every text that is a date with a time is moved by that many weeks.

    Only the day is rewritten. Times of syncs move as well.
    """
    distance = timedelta(weeks=weeks)
    return {name: _shifted(value, distance) for name, value in payload.items()}


def _shifted(value: object, distance: timedelta) -> object:
    if isinstance(value, dict):
        return {name: _shifted(item, distance) for name, item in value.items()}
    if isinstance(value, list):
        return [_shifted(item, distance) for item in value]
    match = _DAY_AND_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    day, time = match.groups()
    try:
        return f"{(date.fromisoformat(day) + distance).isoformat()}{time}"
    except (ValueError, OverflowError):  # such as the 45th of a month, or a year after 9999
        return value
