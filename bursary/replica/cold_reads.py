"""Requests to a catalog while a reader waits: for each key one reader asks, over all processes; others wait.

That upstream does not have the content, or does not answer, is remembered for a while.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings

from bursary.lib import batches, leases
from bursary.lib.inserts import insert_missing
from bursary.lib.retries import in_transaction
from bursary.replica import schedule
from bursary.replica.models import ColdRead, ColdReadStatus
from bursary.replica.refresh import ContentUnavailable

POLL_INTERVAL = 0.05  # seconds, while another reader asks
SILENT_FOR = timedelta(seconds=5)
"""How long a key is not asked for again after upstream did not answer, from the end of the wait for it."""
KEPT = 10_000
"""The newest answers are kept, so many. A deleted one costs one more request."""

Found = TypeVar("Found")


def ask_once(
    content_key: str,
    *,
    catalog_uuid: UUID,
    read_stored: Callable[[], Found | None],
    fetch: Callable[[], Found | None],
    ends_at: float,
    now: datetime,
) -> Found | None:
    """Return the result of `read_stored`, else of `fetch`.

    Returns None where upstream does not have it, or lately did not. While another reader asks, `read_stored`
    is polled until `ends_at`, on the monotonic clock. Raises ContentUnavailable after that, where `fetch`
    raises it, and where it lately did; RuntimeError inside a transaction, which would stay open while
    upstream is asked.
    """
    while True:
        acquired = acquire(content_key, catalog_uuid=catalog_uuid, now=now)
        if isinstance(acquired, ColdRead):
            return _answer(acquired, read_stored, fetch, now=now)
        found = read_stored()
        if found is not None or acquired is ColdReadStatus.ABSENT:
            return found
        if acquired is ColdReadStatus.SILENT or time.monotonic() >= ends_at:
            raise ContentUnavailable("The catalog did not answer in time.")
        time.sleep(POLL_INTERVAL)


def _answer(
    read: ColdRead,
    read_stored: Callable[[], Found | None],
    fetch: Callable[[], Found | None],
    *,
    now: datetime,
) -> Found | None:
    """Return the result of `read_stored`, else of `fetch`.

    The row is settled with a negative answer, or deleted.
    """
    began = time.monotonic()
    try:
        found = read_stored()
        if found is None and (found := fetch()) is None:
            kept_until = now + schedule.fresh_for("absent")
            leases.settle([read], due_at=kept_until, now=now, status=ColdReadStatus.ABSENT)
        return found
    except ContentUnavailable:
        silent_until = now + timedelta(seconds=time.monotonic() - began) + SILENT_FOR
        leases.settle([read], due_at=silent_until, now=now, status=ColdReadStatus.SILENT)
        raise
    finally:
        leases.discard(read)  # where no answer was settled


def acquire(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ColdRead | ColdReadStatus:
    """Claim the request for a key, or return where it stands: absent, silent, or being asked.

    Raises RuntimeError inside a transaction: it would stay open while upstream is asked.
    """
    rows = ColdRead.objects.filter(catalog_uuid=catalog_uuid, content_key=content_key)
    known = rows.first()
    if known is not None and not known.is_past(now=now):
        return ColdReadStatus(known.status)
    asking: dict[str, Any] = {"status": ColdReadStatus.ASKING, "asked_at": now}
    row = ColdRead(
        catalog_uuid=catalog_uuid, content_key=content_key, due_at=now, early=leases.NOT_BEFORE, **asking
    )
    in_transaction(lambda: insert_missing([row], unique=["catalog_uuid", "content_key"]))
    lease = settings.CONTENT_READ_DEADLINE * 3 + timedelta(seconds=30)
    if claimed := leases.claim(rows, now=now, lease=lease, limit=1, **asking):
        return claimed[0]
    return ColdReadStatus(rows.values_list("status", flat=True).first() or ColdReadStatus.ASKING)


def delete_old(*, now: datetime) -> int:
    """Delete lapsed answers, and the oldest beyond `KEPT`; return their number, bounded.

    Of the rows for which a reader still asks, only lapsed ones are deleted: the reader's process has died.
    """
    answers = ColdRead.objects.exclude(status=ColdReadStatus.ASKING)
    beyond = answers.order_by("-due_at", "-pk")[KEPT:]
    return leases.delete_past(ColdRead.objects.all(), now=now) + batches.delete_first(beyond)
