"""The clock: what happens by itself, as rows that are claimed, so that any number of processes may run it.

A tick that was missed is run once, as soon as somebody looks: each of them works by what is due, and so
catches up. One that fails is tried again, after growing pauses, and stops no other.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.management import call_command
from django.db import close_old_connections, connections
from django.db.models import F, Q
from django.utils import timezone

from bursary.assignments import meeting, sweeping
from bursary.delivery import executors
from bursary.events import inbox
from bursary.ops import auditing, forgetting, refreshing, sweeps
from bursary.ops.models import Tick
from bursary.ops.printing import to_json

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
SHORT_LEASE = timedelta(minutes=5)  # of what may run twice: rows and listings have claims of their own
FIRST_WAIT = timedelta(minutes=1)  # after a failure; doubled with each, up to the tick's own period

Clock = Callable[[], datetime]


class TickFailed(Exception):
    """A tick could not do all that was due, for a reason that the message says."""


@dataclass(frozen=True)
class Duty:
    """Something that happens by itself: how often, and what.

    `lease` outlasts any stretch of it in which it does not ask what time it is: each time it asks shows that
    it lives, and the lease is renewed. So whoever is killed is followed soon, however long a whole run takes.
    """

    name: str
    every: timedelta
    run: Callable[[Clock], Mapping[str, object]]
    lease: timedelta = timedelta(minutes=10)


def _refresh(clock: Clock) -> Mapping[str, object]:
    """Look at what is due of the replica."""
    return refreshing.tick(clock=clock).summary()


def _read_listing(clock: Clock) -> Mapping[str, object]:
    """Read a catalog whose day has come."""
    read = refreshing.read_listing(clock=clock)
    if read and read.trouble:
        raise TickFailed(read.trouble)
    return {"catalog": read.summary() if read else None}


def _sweep(clock: Clock) -> Mapping[str, object]:
    """Wake the runner for lost hints and dead workers' work, and meet who has registered."""
    executors.wake()
    met = meeting.meet_all(now=clock())
    if met.failed:
        raise TickFailed(f"{met.done} met; assignments failed: {met.failed}")
    return {"met": met.done}


def _run(duty: sweeps.Sweeper) -> Callable[[Clock], Mapping[str, object]]:
    def run(clock: Clock) -> Mapping[str, object]:
        swept = duty.run(clock(), None)
        if swept.failed:
            raise TickFailed(f"{swept.done} {duty.done}; budgets failed: {swept.failed}")
        return sweeps.summary_of(duty, swept)

    return run


def _forget(clock: Clock) -> Mapping[str, object]:
    """Remove the personal data of what has expired."""
    done = forgetting.run(now=clock())
    if failed := done["failed_budgets"]:
        raise TickFailed(f"Budgets failed: {failed}")
    return done


def _apply_events(clock: Clock) -> Mapping[str, object]:
    """Do what others' events say."""
    return inbox.apply_due(clock=clock)


def _retain(clock: Clock) -> Mapping[str, object]:
    """Remove what is kept no longer: sessions that have ended, events that were settled long ago."""
    call_command("clearsessions")
    return {"events": inbox.forget(now=clock())}


def _audit(clock: Clock) -> Mapping[str, object]:
    """Compare some of the derived columns with the truth. A person decides what to do about it."""
    audit = auditing.daily(clock=clock)
    if audit.wrong:
        raise TickFailed(f"{auditing.sentence(audit)} See `bursary audit_derived`.")
    return {"looked_at": audit.looked_at}


DUTIES: Sequence[Duty] = (
    Duty("sweep", timedelta(minutes=1), _sweep),
    Duty("events", timedelta(seconds=15), _apply_events),
    Duty("refresh", timedelta(minutes=1), _refresh, lease=SHORT_LEASE),
    Duty("expire", timedelta(minutes=5), _run(sweeps.EXPIRING)),
    Duty("remind", timedelta(minutes=15), _run(sweeps.REMINDING)),
    Duty("nudge", timedelta(minutes=15), _run(sweeps.NUDGING)),
    Duty("privacy", timedelta(hours=1), _forget),
    Duty("retention", timedelta(days=1), _retain),
    Duty("audit", timedelta(days=1), _audit),
    # Last, being the longest; and apart from `refresh`, so that nothing that is due waits for it.
    Duty("listing", timedelta(minutes=1), _read_listing, lease=SHORT_LEASE),
)


def run_due(*, clock: Clock, duties: Sequence[Duty] = DUTIES) -> list[str]:
    """Run every tick that is due and that nobody else is running; return their names."""
    _ensure_rows(duties, now=clock())
    due = {row.name: row for row in Tick.objects.filter(name__in=[duty.name for duty in duties])}
    return [duty.name for duty in duties if _run_once(duty, due[duty.name], clock=clock)]


def _ensure_rows(duties: Sequence[Duty], *, now: datetime) -> None:
    known = set(Tick.objects.values_list("name", flat=True))
    missing = [Tick(name=duty.name, due_at=now) for duty in duties if duty.name not in known]
    if missing:  # another process may be making them as well
        Tick.objects.bulk_create(missing, ignore_conflicts=True)


def _run_once(duty: Duty, row: Tick, *, clock: Clock) -> bool:
    now = clock()
    # Due, or farther away than it can be: then the machine's clock was put back.
    due = Q(due_at__lte=now) | Q(due_at__gt=now + 2 * max(duty.every, duty.lease))
    claim = Tick.objects.filter(due, name=duty.name, fence=row.fence)
    if not claim.update(due_at=now + duty.lease, fence=F("fence") + 1, started_at=now):
        return False
    summary: Mapping[str, object] = {}
    error = ""
    try:
        summary = duty.run(_renewing(duty, fence=row.fence + 1, clock=clock, since=now))
    except TickFailed as failed:
        logger.warning("Tick %s failed: %s", duty.name, failed)
        error = str(failed)
    except Exception as raised:  # noqa: BLE001  # the clock survives whatever a tick raises, and says so
        error = sweeping.broke(f"Tick {duty.name} broke", raised, log=logger)
    _finish(duty, row, clock(), summary=summary, error=error)
    return True


def _renewing(duty: Duty, *, fence: int, clock: Clock, since: datetime) -> Clock:
    """Return the clock for a run: it renews the lease, unless another has it, when a third of it is over."""
    renewed = since

    def tell() -> datetime:
        nonlocal renewed
        now = clock()
        if now - renewed >= duty.lease / 3:
            renewed = now
            Tick.objects.filter(name=duty.name, fence=fence).update(due_at=now + duty.lease)
        return now

    return tell


def _finish(duty: Duty, row: Tick, now: datetime, *, summary: Mapping[str, object], error: str) -> None:
    """Write how it went and when it is next due, unless its lease ended and another has it."""
    failures = row.failures + 1 if error else 0
    wait = min(duty.every, FIRST_WAIT * (1 << min(failures - 1, 16))) if error else duty.every
    Tick.objects.filter(name=duty.name, fence=row.fence + 1).update(
        due_at=now + wait,
        finished_at=now,
        failures=failures,
        last_error=error,
        summary=json.loads(to_json(summary)),
    )


class ClockThread(threading.Thread):
    """Looks at the clock every few seconds."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"bursary-clock-{number}", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Run what is due until stopped. A database that is away is waited for."""
        while not self._stopping.is_set():
            close_old_connections()
            try:
                run_due(clock=timezone.now)
            except Exception as raised:  # noqa: BLE001  # a thread that dies stops every tick; it is logged
                sweeping.broke("A round of the clock broke off", raised, log=logger)
            self._stopping.wait(POLL_SECONDS)
        connections.close_all()

    def stop(self) -> None:
        """Finish the tick in hand, then end."""
        self._stopping.set()


def start_threads(count: int) -> list[ClockThread]:
    """Start `count` clock threads in this process; none where the clock is run by others."""
    if settings.CLOCK != "thread":
        return []
    threads = [ClockThread(number) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
