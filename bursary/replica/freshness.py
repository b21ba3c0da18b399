"""How long a look upstream is good for, by one table in settings, and how long to wait after a failed one."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from bursary.catalog.parser import Completeness, Content

FIRST_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=6)

EXPECTED_FOR = timedelta(days=1)
"""Upstream learns of a change by a batch, long after the event that announced it. Then nobody waits more."""
LONGEST_EXPECTANT_WAIT = timedelta(hours=2)

AHEAD = timedelta(days=1)
"""What lies so much after a look was written by a clock that was ahead: no look takes as long."""


def span(kind: str) -> timedelta:
    """Return an entry of the table of freshness."""
    found: timedelta = settings.CONTENT_FRESHNESS[kind]
    return found


def kind_of(content: Content, *, now: datetime) -> str:
    """Return which entry of the table holds for a record; a course is as urgent as its most urgent run."""
    dates = (date for one in (content, *content.runs) for date in (one.start_date, one.enroll_by))
    return kind_by(content.completeness.value, content.active, dates, now=now)


def kind_by(completeness: str, active: bool, dates: Iterable[datetime | None], *, now: datetime) -> str:
    """Return the same by what is known, whether anybody can enrol, and all starts and ends of enrolment."""
    if completeness == Completeness.FULL.value and not active:
        return "inactive"
    soon = any(date and now <= date <= now + settings.CONTENT_SOON for date in dates)
    return "soon" if soon else "ordinary"


def latest(now: datetime) -> datetime:
    """Return an instant after which nothing can be due yet: what is due later, a clock ahead has written."""
    return now + max(*settings.CONTENT_FRESHNESS.values(), LONGEST_WAIT, settings.CONTENT_LEASE) + AHEAD


def written_ahead(column: str, *, now: datetime) -> Q:
    """Return the condition under which a clock that was ahead wrote a column, for a look at `now`."""
    return Q(**{f"{column}__gt": now + AHEAD})


def longest_wait_after(failures: int) -> timedelta:
    """Return how long to wait at most after so many failures in a row: exponential and capped."""
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(max(failures, 1) - 1, 16)))


def wait_after(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row: at random up to that."""
    return longest_wait_after(failures) * random.random()  # noqa: S311  # spreads load; hides nothing


def expectant_wait(expected_since: datetime, *, now: datetime) -> timedelta:
    """Return how long to wait for an announced change to show: as long again as it has taken so far."""
    return min(max(now - expected_since, FIRST_WAIT), LONGEST_EXPECTANT_WAIT)
