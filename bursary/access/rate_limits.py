"""How many requests a caller may send within a minute (decision 0023).

POSTs are counted in the database, in one row a caller, so that all processes share the count. GETs are
counted in the process that answers them: no read writes a row.
"""

import threading
from collections import Counter
from datetime import datetime, timedelta

from django.db.models import Case, F, Q, QuerySet, Value, When

from bursary.access.models import RequestTally
from bursary.lib import batches
from bursary.lib.inserts import insert_missing
from bursary.lib.prepared import PreparedUpdate, Slot
from bursary.lib.retries import in_transaction

MINUTE = 60  # seconds
KEPT_FOR = timedelta(days=1)

_MINUTE, _NEXT_MINUTE = (Slot(name, RequestTally.minute.field) for name in ("minute", "next_minute"))
# A minute ahead may be the next one by another machine's clock; what is later was written by a wrong one.
_ANOTHER = Q(minute__lt=_MINUTE) | Q(minute__gt=_NEXT_MINUTE)


@PreparedUpdate
def _count() -> tuple[QuerySet[RequestTally], dict[str, object]]:
    """Count a request of the caller, unless that has sent as many as it may in this minute."""
    limit, caller = Slot("limit", RequestTally.count.field), Slot("caller", RequestTally.caller.field)
    return RequestTally.objects.filter(_ANOTHER | Q(count__lt=limit), caller=caller), {
        # MariaDB assigns from left to right: the minute, with which the count compares, goes last.
        "count": Case(When(_ANOTHER, then=Value(1)), default=F("count") + 1),
        "minute": Case(When(_ANOTHER, then=_MINUTE), default=F("minute")),
    }


def count_post(caller: str, *, limit: int, now: datetime) -> int:
    """Count a POST; return 0, or the seconds to wait where the caller has sent `limit` in this minute.

    One statement, on one row and in a transaction of its own; four more when the caller is new or waits.
    Raises RuntimeError inside a transaction, which would hold the row.
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
    # Again: another process may have made the row since the first time.
    if in_transaction(count):
        return 0
    counted = rows.values_list("minute", flat=True).first() or minute  # this minute, or the next one
    return max((counted + 1) * MINUTE - seconds, 1)


def delete_old(*, now: datetime) -> int:
    """Delete tallies of more than `KEPT_FOR` ago, or ahead; return their number, bounded."""
    first, last = (int((now + span).timestamp()) // MINUTE for span in (-KEPT_FOR, KEPT_FOR))
    old = RequestTally.objects.filter(Q(minute__lt=first) | Q(minute__gt=last))
    return batches.delete_first(old.order_by("minute"))


class ProcessTally:
    """Counts by caller in the memory of this process. It holds the callers of one minute."""

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
        """Drop all counts, as a new process has none."""
        with self._lock:
            self._counts.clear()
