"""Keys that we have no content for: one question at a time for each, and its answer remembered for a while.

Content that we have is never asked about here: this is for the cold reads of `reads.py` alone.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import F, QuerySet

from bursary.lib.retries import in_transaction
from bursary.replica import schedule
from bursary.replica.models import ColdRead, ColdReadStatus

SILENT_FOR = timedelta(seconds=5)
"""Nobody asks again for a key so soon after upstream did not answer."""
KEPT = 10_000
"""Answers that are kept, the newest; what is forgotten is merely asked again."""
MOST_FORGOTTEN = 1000  # at a time


@dataclass(frozen=True, slots=True)
class Acquired:
    """A question that is ours to put to upstream."""

    pk: int
    fence: int


def acquire(content_key: str, *, catalog_uuid: UUID, now: datetime) -> Acquired | ColdReadStatus:
    """Take up a question, or return what is known of it: being asked by another, absent, or silence.

    Raises RuntimeError inside a transaction: it would be held open while upstream is asked.
    """
    rows = ColdRead.objects.filter(catalog_uuid=catalog_uuid, content_key=content_key)
    known = rows.filter(until__gt=now).values_list("answer", flat=True).first()
    if known is not None:
        return ColdReadStatus(known)

    def take_up() -> Acquired | ColdReadStatus:
        row = ColdRead(
            catalog_uuid=catalog_uuid,
            content_key=content_key,
            answer=ColdReadStatus.ASKING,
            asked_at=now,
            until=now,
        )
        ColdRead.objects.bulk_create([row], ignore_conflicts=True)
        lease = now + settings.CONTENT_READ_DEADLINE * 3 + timedelta(seconds=30)
        won = rows.filter(until__lte=now).update(
            answer=ColdReadStatus.ASKING, asked_at=now, until=lease, fence=F("fence") + 1
        )
        if not won:
            return ColdReadStatus(rows.values_list("answer", flat=True).first() or ColdReadStatus.ASKING)
        return Acquired(*rows.values_list("pk", "fence").get())

    return in_transaction(take_up)


def release(flight: Acquired) -> None:
    """Forget the question: we have the content now, or nothing was learned."""
    _own(flight).delete()


def remember_absent(flight: Acquired, *, now: datetime) -> None:
    """Remember that upstream does not have it."""
    _own(flight).update(answer=ColdReadStatus.ABSENT, until=now + schedule.fresh_for("absent"))


def remember_unavailable(flight: Acquired, *, now: datetime) -> None:
    """Remember, for a moment, that upstream did not answer."""
    _own(flight).update(answer=ColdReadStatus.SILENT, until=now + SILENT_FOR)


def forget(*, now: datetime) -> int:
    """Delete answers that count no more, and the oldest beyond `KEPT`; a bounded number at a time."""
    lapsed = ColdRead.objects.filter(until__lt=now).order_by("until")
    pks = list(lapsed.values_list("pk", flat=True)[:MOST_FORGOTTEN])
    surplus = ColdRead.objects.order_by("-until", "-pk").values_list("pk", flat=True)
    pks += surplus[KEPT : KEPT + MOST_FORGOTTEN]
    deleted, _ = ColdRead.objects.filter(pk__in=pks).delete()
    return deleted


def _own(flight: Acquired) -> QuerySet[ColdRead]:
    return ColdRead.objects.filter(pk=flight.pk, fence=flight.fence, answer=ColdReadStatus.ASKING)
