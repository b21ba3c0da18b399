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

from bursary.assignments import account_linking
from bursary.delivery import executors
from bursary.events import inbox
from bursary.lib import logs
from bursary.ops import derived_report, erasure_runs, refresh_runs, sweep_commands
from bursary.ops.console import to_json
from bursary.ops.models import ScheduledTask

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
SHORT_LEASE = timedelta(minutes=5)  # of what may run twice: rows and listings have claims of their own
FIRST_WAIT = timedelta(minutes=1)  # after a failure; doubled with each, up to the tick's own period

Clock = Callable[[], datetime]


class TaskFailed(Exception):
    """A tick could not do all that was due, for a reason that the message says."""


@dataclass(frozen=True)
class TaskDefinition:
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
    return refresh_runs.refresh_run(clock=clock).summary()


def _read_listing(clock: Clock) -> Mapping[str, object]:
    """Read a catalog whose day has come."""
    read = refresh_runs.read_listing(clock=clock)
    if read and read.failure:
        raise TaskFailed(read.failure)
    return {"catalog": read.summary() if read else None}


def _sweep(clock: Clock) -> Mapping[str, object]:
    """Wake the runner for lost hints and dead workers' work, and meet who has registered."""
    executors.wake()
    met = account_linking.link_registered_users(now=clock())
    if met.failed:
        raise TaskFailed(f"{met.done} met; assignments failed: {met.failed}")
    return {"met": met.done}


def _run(duty: sweep_commands.SweepDefinition) -> Callable[[Clock], Mapping[str, object]]:
    def run(clock: Clock) -> Mapping[str, object]:
        swept = duty.run(clock(), None)
        if swept.failed:
            raise TaskFailed(f"{swept.done} {duty.done}; budgets failed: {swept.failed}")
        return sweep_commands.summary_of(duty, swept)

    return run


def _forget(clock: Clock) -> Mapping[str, object]:
    """Remove the personal data of what has expired."""
    done = erasure_runs.run(now=clock())
    if failed := done["failed_budgets"]:
        raise TaskFailed(f"Budgets failed: {failed}")
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
    audit = derived_report.daily(clock=clock)
    if audit.wrong:
        raise TaskFailed(f"{derived_report.sentence(audit)} See `bursary audit_derived`.")
    return {"looked_at": audit.looked_at}


TASKS: Sequence[TaskDefinition] = (
    TaskDefinition("sweep", timedelta(minutes=1), _sweep),
    TaskDefinition("events", timedelta(seconds=15), _apply_events),
    TaskDefinition("refresh", timedelta(minutes=1), _refresh, lease=SHORT_LEASE),
    TaskDefinition("expire", timedelta(minutes=5), _run(sweep_commands.EXPIRING)),
    TaskDefinition("remind", timedelta(minutes=15), _run(sweep_commands.REMINDING)),
    TaskDefinition("nudge", timedelta(minutes=15), _run(sweep_commands.NUDGING)),
    TaskDefinition("privacy", timedelta(hours=1), _forget),
    TaskDefinition("retention", timedelta(days=1), _retain),
    TaskDefinition("audit", timedelta(days=1), _audit),
    # Last, being the longest; and apart from `refresh`, so that nothing that is due waits for it.
    TaskDefinition("listing", timedelta(minutes=1), _read_listing, lease=SHORT_LEASE),
)


def run_due(*, clock: Clock, duties: Sequence[TaskDefinition] = TASKS) -> list[str]:
    """Run every tick that is due and that nobody else is running; return their names."""
    _ensure_rows(duties, now=clock())
    due = {row.name: row for row in ScheduledTask.objects.filter(name__in=[duty.name for duty in duties])}
    return [duty.name for duty in duties if _run_once(duty, due[duty.name], clock=clock)]


def _ensure_rows(duties: Sequence[TaskDefinition], *, now: datetime) -> None:
    known = set(ScheduledTask.objects.values_list("name", flat=True))
    missing = [ScheduledTask(name=duty.name, due_at=now) for duty in duties if duty.name not in known]
    if missing:  # another process may be making them as well
        ScheduledTask.objects.bulk_create(missing, ignore_conflicts=True)


def _run_once(duty: TaskDefinition, row: ScheduledTask, *, clock: Clock) -> bool:
    now = clock()
    # Due, or farther away than it can be: then the machine's clock was put back.
    due = Q(due_at__lte=now) | Q(due_at__gt=now + 2 * max(duty.every, duty.lease))
    claim = ScheduledTask.objects.filter(due, name=duty.name, fence=row.fence)
    if not claim.update(due_at=now + duty.lease, fence=F("fence") + 1, started_at=now):
        return False
    summary: Mapping[str, object] = {}
    error = ""
    try:
        summary = duty.run(_renewing(duty, fence=row.fence + 1, clock=clock, since=now))
    except TaskFailed as failed:
        logger.warning("Tick %s failed: %s", duty.name, failed)
        error = str(failed)
    except Exception as raised:  # noqa: BLE001  # the clock survives whatever a tick raises, and says so
        error = logs.log_failure(f"Tick {duty.name} broke", raised, log=logger)
    _finish(duty, row, clock(), summary=summary, error=error)
    return True


def _renewing(duty: TaskDefinition, *, fence: int, clock: Clock, since: datetime) -> Clock:
    """Return the clock for a run: it renews the lease, unless another has it, when a third of it is over."""
    renewed = since

    def tell() -> datetime:
        nonlocal renewed
        now = clock()
        if now - renewed >= duty.lease / 3:
            renewed = now
            ScheduledTask.objects.filter(name=duty.name, fence=fence).update(due_at=now + duty.lease)
        return now

    return tell


def _finish(
    duty: TaskDefinition, row: ScheduledTask, now: datetime, *, summary: Mapping[str, object], error: str
) -> None:
    """Write how it went and when it is next due, unless its lease ended and another has it."""
    failures = row.failures + 1 if error else 0
    wait = min(duty.every, FIRST_WAIT * (1 << min(failures - 1, 16))) if error else duty.every
    ScheduledTask.objects.filter(name=duty.name, fence=row.fence + 1).update(
        due_at=now + wait,
        finished_at=now,
        failures=failures,
        last_error=error,
        summary=json.loads(to_json(summary)),
    )


class SchedulerThread(threading.Thread):
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
                logs.log_failure("A round of the clock broke off", raised, log=logger)
            self._stopping.wait(POLL_SECONDS)
        connections.close_all()

    def stop(self) -> None:
        """Finish the tick in hand, then end."""
        self._stopping.set()


def start_threads(count: int) -> list[SchedulerThread]:
    """Start `count` clock threads in this process; none where the clock is run by others."""
    if settings.CLOCK != "thread":
        return []
    threads = [SchedulerThread(number) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads
