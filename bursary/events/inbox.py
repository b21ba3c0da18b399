"""The inbox: an event is kept as soon as it is heard, and applied later, by the clock.

`receive` is one cheap local write, so hearing hardly fails, and what was heard is not lost. `apply_due` does
what an event says. Doing it twice is harmless; so a process that dies in between only costs time.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from bursary.events import handlers
from bursary.events.handlers import NotApplicableYet
from bursary.events.models import EventKind, EventOutcome, EventSource, InboxEvent
from bursary.lib import logs

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]

LEASE = timedelta(minutes=5)
FIRST_WAIT = timedelta(seconds=30)  # doubled with each attempt
LONGEST_WAIT = timedelta(hours=1)
TRIED_FOR = timedelta(days=1)
"""So long after it was received, what cannot be applied is settled as such."""
KEPT_FOR = timedelta(days=30)
"""Settled events are forgotten then. A repetition comes within minutes, or is refused by its age."""
MOST_A_TICK = 500
BATCH = 100
LONGEST_ERROR = 1000  # characters


def receive(
    event_id: str, *, source: EventSource, kind: EventKind, payload: Mapping[str, object], now: datetime
) -> bool:
    """Keep an event to be applied; return whether it is new. One that is known stays as it is.

    Where what is known under this id says something else, that is logged: what was told now is lost.
    """
    return _keep(
        InboxEvent(source=source, event_id=event_id, kind=kind, payload=payload, received_at=now, due_at=now)
    )


def set_aside(event_id: str, *, source: EventSource, error: str, now: datetime) -> bool:
    """Keep word of what cannot be read, for people; return whether it is new."""
    return _keep(
        InboxEvent(
            source=source,
            event_id=event_id,
            kind=EventKind.UNREADABLE,
            received_at=now,
            settled_at=now,
            outcome=EventOutcome.UNREADABLE,
            last_error=_storable(error),
        )
    )


def apply_due(*, clock: Clock, most: int = MOST_A_TICK) -> dict[str, int]:
    """Apply at most `most` events that are due, oldest first; return how many ended in which way.

    What could not be applied yet counts as `postponed`, what broke as `broken`. Neither stops the others.
    """
    ended: Counter[str] = Counter()
    started = clock()
    while ended.total() < most:
        size = min(BATCH, most - ended.total())
        due = list(InboxEvent.objects.filter(due_at__lte=started).order_by("due_at", "id")[:size])
        if not due:
            break
        for event in due:
            if _claim(event, now=clock()):
                ended[_apply(event, clock=clock)] += 1
            else:
                ended["taken"] += 1  # by another process, just now
    return dict(ended)


def count_due(*, now: datetime) -> int:
    """Return how many events are due."""
    return InboxEvent.objects.filter(due_at__lte=now).count()


def forget(*, now: datetime) -> int:
    """Remove what was settled long ago, at most a batch of batches; return how many. Others stay."""
    removed = 0
    for _ in range(BATCH):
        old = InboxEvent.objects.filter(settled_at__lte=now - KEPT_FOR).order_by("settled_at")
        pks = list(old.values_list("pk", flat=True)[:BATCH])
        if not pks:
            break
        removed += InboxEvent.objects.filter(pk__in=pks).delete()[0]
    return removed


def _keep(event: InboxEvent) -> bool:
    # Not `ignore_conflicts`: SQLite and MySQL would then also ignore what is wrong with a row.
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
                "every sender must use ids that nobody else uses.",
                event.event_id,
                known.kind,
                event.source,
                event.kind,
            )
        return False
    return True


def _claim(event: InboxEvent, *, now: datetime) -> bool:
    mine = InboxEvent.objects.filter(pk=event.pk, attempts=event.attempts, due_at=event.due_at)
    if not mine.update(due_at=now + LEASE, attempts=F("attempts") + 1):
        return False
    event.attempts += 1
    return True


def _apply(event: InboxEvent, *, clock: Clock) -> str:
    """Do what the event says and write how it went; return that in a word."""
    try:
        outcome = handlers.apply(EventKind(event.kind), event.payload, now=clock())
    except NotApplicableYet as not_yet:
        return _postpone(event, clock(), error=str(not_yet), at_last=not_yet.outcome, word="postponed")
    except Exception as error:  # noqa: BLE001  # one broken event stops no other; it is logged, and tried again
        said = logs.log_failure(f"Event {event.event_id} ({event.kind}) broke", error, log=logger)
        return _postpone(event, clock(), error=said, at_last=EventOutcome.FAILED, word="broken")
    _settle(event, clock(), outcome=outcome, error="")
    return outcome.value


def _postpone(event: InboxEvent, now: datetime, *, error: str, at_last: EventOutcome, word: str) -> str:
    if now - event.received_at >= TRIED_FOR:
        logger.warning("Event %s (%s) is given up: %s", event.event_id, event.kind, error)
        _settle(event, now, outcome=at_last, error=error)
        return at_last.value
    wait = min(FIRST_WAIT * (1 << min(event.attempts - 1, 16)), LONGEST_WAIT)
    _mine(event).update(due_at=now + wait, last_error=_storable(error))
    return word


def _settle(event: InboxEvent, now: datetime, *, outcome: EventOutcome, error: str) -> None:
    _mine(event).update(due_at=None, settled_at=now, outcome=outcome, last_error=_storable(error))


def _mine(event: InboxEvent) -> QuerySet[InboxEvent]:
    return InboxEvent.objects.filter(due_at__isnull=False, pk=event.pk, attempts=event.attempts)


def _storable(error: str) -> str:
    return error.replace("\0", "").encode("utf-8", "replace").decode()[:LONGEST_ERROR]
