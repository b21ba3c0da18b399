"""Limits of a caller's requests within a minute (decision 0023).

POSTs are counted in the database, in one row for each caller, so that all processes share the count. GETs are
counted in the memory of the process that answers them, so that a read writes no row.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, QuerySet, Value, When

from bursary.access.models import RequestTally
from bursary.lib import batches
from bursary.lib.inserts import insert_missing
from bursary.lib.prepared import Parameter, PreparedUpdate
from bursary.lib.retries import in_transaction

MINUTE = 60  # seconds
KEPT_FOR = timedelta(days=1)

_MINUTE, _NEXT_MINUTE = (Parameter(name, RequestTally.minute.field) for name in ("minute", "next_minute"))
# The next minute may be the present one by another machine's clock; a later minute is from a wrong clock.
_ANOTHER = Q(minute__lt=_MINUTE) | Q(minute__gt=_NEXT_MINUTE)


@PreparedUpdate
def _count() -> tuple[QuerySet[RequestTally], dict[str, object]]:
    """Count a request of the caller, unless the limit of this minute is reached."""
    limit, caller = (
        Parameter("limit", RequestTally.count.field),
        Parameter("caller", RequestTally.caller.field),
    )
    return RequestTally.objects.filter(_ANOTHER | Q(count__lt=limit), caller=caller), {
        # MariaDB assigns from left to right. The count depends on the old minute, so the minute comes last.
        "count": Case(When(_ANOTHER, then=Value(1)), default=F("count") + 1),
        "minute": Case(When(_ANOTHER, then=_MINUTE), default=F("minute")),
    }


def count_post(caller: str, *, limit: int, now: datetime) -> int:
    """Count a POST; return 0, or the seconds to wait if the caller has sent `limit` in this minute.

    One statement on one row, in its own transaction; four more if the caller is new or must wait. Raises
    RuntimeError inside a transaction, which would keep the row locked.
    """
    seconds = int(now.timestamp())
    minute = seconds // MINUTE
    rows = RequestTally.objects.filter(caller=caller)

    def count() -> int:
        return _count.run(caller=caller, limit=limit, minute=minute, next_minute=minute + 1)

    if in_transaction(count):
        return 0
    if not rows.exists():
        new = RequestTally(caller=caller, minute=minute, count=0)
        in_transaction(lambda: insert_missing([new], unique=["caller"]))
    # Again: another process may have inserted the row since the first attempt.
    if in_transaction(count):
        return 0
    counted = rows.values_list("minute", flat=True).first() or minute  # this minute, or the next one
    return max((counted + 1) * MINUTE - seconds, 1)


def delete_old(*, now: datetime) -> int:
    """Delete tallies more than `KEPT_FOR` in the past or the future; return their number, bounded."""
    first, last = (int((now + span).timestamp()) // MINUTE for span in (-KEPT_FOR, KEPT_FOR))
    old = RequestTally.objects.filter(Q(minute__lt=first) | Q(minute__gt=last))
    return batches.delete_first(old.order_by("minute"))


class ProcessTally:
    """Counts by caller, for one minute, in the memory of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self._counts: Counter[str] = Counter()

    def count(self, caller: str, *, limit: int, seconds: float) -> int:
        """Count a request; return 0, or the seconds to wait. `seconds` are those of a monotonic clock."""
        minute = int(seconds // MINUTE)
        with self._lock:
            if minute != self._minute:
                self._minute = minute
                self._counts.clear()
            if self._counts[caller] >= limit:
                return MINUTE - int(seconds % MINUTE)
            self._counts[caller] += 1
        return 0

    def reset(self) -> None:
        """Drop all counts."""
        with self._lock:
            self._counts.clear()
