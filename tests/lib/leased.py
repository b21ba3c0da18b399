"""Rows of the inbox as the tests of leases use them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bursary.events.models import EventKind, EventOutcome, EventSource, InboxEvent
from bursary.lib import leases
from bursary.lib.leases import NOT_BEFORE
from tests.world import NOW

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LEASE = 5 * MINUTE
ROWS = InboxEvent.objects.all


def given(name: str, *, due: timedelta = timedelta(0), early: int = NOT_BEFORE) -> InboxEvent:
    """Create a row that is due at `NOW + due`, or early."""
    return InboxEvent.objects.create(
        source=EventSource.BUS,
        event_id=name,
        kind=EventKind.CONTENT_CHANGED,
        received_at=NOW,
        due_at=NOW + due,
        early=early,
    )


def given_finished(name: str) -> InboxEvent:
    return InboxEvent.objects.create(
        source=EventSource.BUS, event_id=name, kind=EventKind.UNREADABLE, received_at=NOW, settled_at=NOW
    )


def claim(at: datetime = NOW, *, limit: int = 10, **columns: Any) -> list[InboxEvent]:
    return leases.claim(ROWS, now=at, lease=LEASE, limit=limit, **columns)


def finish(*rows: InboxEvent, at: datetime = NOW, finished_wins: bool = True) -> int:
    return leases.settle(
        rows, due_at=None, now=at, finished_wins=finished_wins, settled_at=at, outcome=EventOutcome.REVERSED
    )


def names(rows: Sequence[InboxEvent]) -> list[str]:
    return [row.event_id for row in rows]


def stored(row: InboxEvent) -> InboxEvent:
    return InboxEvent.objects.get(pk=row.pk)


def columns_of(row: InboxEvent) -> tuple[datetime | None, int | None, datetime | None, int]:
    found = stored(row)
    return found.due_at, found.early, found.lease_until, found.fence
