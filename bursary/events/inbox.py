"""The inbox: an event is stored as soon as it is received, and applied later by a scheduled task.

`receive` is one cheap local write, so that it seldom fails and no event is lost. `apply_due` applies the
events. Applying is idempotent, so an event is applied again if the process dies before it is settled.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F

from bursary.events import handlers
from bursary.events.handlers import NotApplicableYet
from bursary.events.models import EventKind, EventOutcome, EventSource, InboxEvent
from bursary.lib import batches, leases, logs, retries
from bursary.lib.clock import Clock
from bursary.lib.retries import repeated_after_deadlocks
from bursary.lib.texts import storable

logger = logging.getLogger(__name__)


LEASE = timedelta(minutes=5)
FIRST_WAIT = timedelta(seconds=30)  # doubled with each attempt
LONGEST_WAIT = timedelta(hours=1)
TRIED_FOR = timedelta(days=1)
"""An event that still cannot be applied after this time is settled."""
MAX_A_RUN = 500
LONGEST_ERROR = 1000  # characters


def receive(
    event_id: str, *, source: EventSource, kind: EventKind, payload: Mapping[str, object], now: datetime
) -> bool:
    """Store an event to be applied; return whether it is new. A known event is not changed.

    If the known event of this id has other content, the new content is dropped, and that is logged.
    """
    return _keep(
        InboxEvent(
            source=source,
            event_id=event_id,
            kind=kind,
            payload=payload,
            received_at=now,
            due_at=now,
            early=leases.NOT_BEFORE,
        )
    )


def set_aside(event_id: str, *, source: EventSource, error: str, now: datetime) -> bool:
    """Store an unreadable event for the operator; return whether it is new."""
    return _keep(
        InboxEvent(
            source=source,
            event_id=event_id,
            kind=EventKind.UNREADABLE,
            received_at=now,
            settled_at=now,
            outcome=EventOutcome.UNREADABLE,
            last_error=storable(error)[:LONGEST_ERROR],
        )
    )


def apply_due(*, clock: Clock, limit: int = MAX_A_RUN) -> dict[str, int]:
    """Apply at most `limit` events that are due, oldest first; return their numbers by outcome.

    An event that cannot be applied yet counts as `postponed`, one that raises as `broken`. Both are retried,
    and neither stops the others.
    """
    ended: Counter[str] = Counter()
    while ended.total() < limit:
        claimed = leases.claim(
            InboxEvent.objects.all, now=clock(), lease=LEASE, limit=1, attempts=F("attempts") + 1
        )
        if not claimed:
            break
        ended[_apply(claimed[0], clock=clock)] += 1
    return dict(ended)


def count_due(*, now: datetime) -> int:
    """Return the number of events that are due."""
    return leases.count_due(InboxEvent.objects.all(), now=now)


def delete_old(*, now: datetime) -> int:
    """Delete events that were settled more than `KEEP_EVENTS` ago; return their number, bounded."""
    old = InboxEvent.objects.filter(settled_at__lte=now - settings.KEEP_EVENTS)
    return batches.delete_first(old.order_by("settled_at"))


@repeated_after_deadlocks
def _keep(event: InboxEvent) -> bool:
    # Not `ignore_conflicts`: SQLite and MySQL would then also ignore other errors of the row.
    try:
        with transaction.atomic():
            event.save(force_insert=True)
    except IntegrityError:
        known = InboxEvent.objects.filter(source=event.source, event_id=event.event_id).first()
        if known is None:
            raise
        if (known.kind, known.payload) != (event.kind, event.payload):
            logger.warning(
                "Event %s (%s, by %s) is known, but came again as %s with other content, which is dropped: "
                "ids must be unique among all senders.",
                event.event_id,
                known.kind,
                event.source,
                event.kind,
            )
        return False
    return True


def _apply(event: InboxEvent, *, clock: Clock) -> str:
    """Apply a claimed event and settle it; return its outcome, `postponed` or `broken`."""
    try:
        outcome, word, error = handlers.apply(EventKind(event.kind), event.payload, now=clock()), "", ""
    except NotApplicableYet as not_yet:
        outcome, word, error = not_yet.outcome, "postponed", str(not_yet)
    except Exception as raised:  # noqa: BLE001  # one broken event stops no other; it is logged, and retried
        error = logs.log_failure(f"Event {event.event_id} ({event.kind}) failed", raised, log=logger)
        outcome, word = EventOutcome.FAILED, "broken"
    now = clock()
    if word and now - event.received_at < TRIED_FOR:
        wait = retries.back_off_ceiling(event.attempts, first=FIRST_WAIT, longest=LONGEST_WAIT)
        leases.settle([event], due_at=now + wait, now=now, last_error=storable(error)[:LONGEST_ERROR])
        return word
    if word:
        logger.warning("Event %s (%s) finally failed: %s", event.event_id, event.kind, error)
    leases.settle(
        [event],
        due_at=None,
        now=now,
        finished_wins=True,
        settled_at=now,
        outcome=outcome,
        last_error=storable(error)[:LONGEST_ERROR],
    )
    return outcome.value
