"""Cold reads: fetches of content that a catalog is not known to hold, while a reader waits.

A key is asked for once at a time, and upstream's answer is remembered for a while.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from bursary.lib import batches, leases
from bursary.lib.retries import in_transaction
from bursary.replica import schedule
from bursary.replica.models import ColdRead, ColdReadStatus

SILENT_FOR = timedelta(seconds=5)
"""How long a key is not asked for again after upstream did not answer."""
KEPT = 10_000
"""Answers that are kept, the newest. A forgotten one costs one more request."""


def acquire(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ColdRead | ColdReadStatus:
    """Claim the request for a key, or return the remembered answer: absent, silent, or being asked.

    Raises RuntimeError inside a transaction: it would stay open while upstream is asked.
    """
    rows = ColdRead.objects.filter(catalog_uuid=catalog_uuid, content_key=content_key)
    known = rows.first()
    if known is not None and not known.is_past(now=now):
        return ColdReadStatus(known.answer)
    asking: dict[str, Any] = {"answer": ColdReadStatus.ASKING, "asked_at": now}
    row = ColdRead(
        catalog_uuid=catalog_uuid, content_key=content_key, due_at=now, early=leases.NOT_BEFORE, **asking
    )
    in_transaction(lambda: ColdRead.objects.bulk_create([row], ignore_conflicts=True))
    lease = settings.CONTENT_READ_DEADLINE * 3 + timedelta(seconds=30)
    if claimed := leases.claim(rows, now=now, lease=lease, limit=1, **asking):
        return claimed[0]
    return ColdReadStatus(rows.values_list("answer", flat=True).first() or ColdReadStatus.ASKING)


def release(read: ColdRead) -> None:
    """Forget the request: the content is there now, or nothing was learned."""
    leases.discard(read)


def remember(read: ColdRead, answer: ColdReadStatus, *, now: datetime) -> None:
    """Remember an absence for as long as `CONTENT_FRESHNESS` says, and a silence for `SILENT_FOR`."""
    kept_for = schedule.fresh_for("absent") if answer is ColdReadStatus.ABSENT else SILENT_FOR
    leases.settle([read], due_at=now + kept_for, now=now, answer=answer)


def delete_old(*, now: datetime) -> int:
    """Delete lapsed answers, and the oldest beyond `KEPT`; return their number, bounded."""
    lapsed = ColdRead.objects.filter(early=leases.NOT_BEFORE, due_at__lt=now).order_by("due_at")
    beyond = ColdRead.objects.order_by("-due_at", "-pk")[KEPT:]
    return batches.delete_first(lapsed) + batches.delete_first(beyond)
