"""Scheduled tasks, as leased rows, so that any number of processes may run them.

A task that was missed is run once, by the first process that finds it due, and catches up: each task works on
all rows that are due. A task that fails is retried with back-off, and does not stop the others.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from bursary.access import sign_in_limits
from bursary.assignments import account_linking, mailbox_keys
from bursary.assignments.sweeps import SweepResult
from bursary.delivery import executors
from bursary.events import inbox
from bursary.lib import leases, logs, retries, texts
from bursary.lib.clock import Clock, renewing
from bursary.lib.inserts import insert_missing
from bursary.lib.threads import PollingThread
from bursary.ops import derived_report, erasure_runs, rebuild_runs, refresh_runs, retention, sweep_commands
from bursary.ops.console import to_json
from bursary.ops.models import ScheduledTask

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
SHORT_LEASE = timedelta(minutes=5)  # for tasks that may run twice, because their rows have their own leases
FIRST_WAIT = timedelta(minutes=1)  # after a failure; doubled with each one, up to the task's period


class TaskFailed(Exception):
    """A task could not do all due work, for the reason in the message."""


@dataclass(frozen=True)
class TaskDefinition:
    """A task: what it does, and how often.

    Reading its clock renews the task's lease, and `lease` is longer than the task ever runs without doing so.
    So after a process is killed, its task soon runs in another, however long a whole run takes.
    """

    name: str
    every: timedelta
    run: Callable[[Clock], Mapping[str, object]]
    lease: timedelta = timedelta(minutes=10)


def _read_listing(clock: Clock) -> Mapping[str, object]:
    """Read the listing of a catalog that is due."""
    read = refresh_runs.read_listing(clock=clock)
    if read and read.failure:
        raise TaskFailed(read.failure)
    return {"catalog": read.summary() if read else None}


def _sweep(clock: Clock) -> Mapping[str, object]:
    """Wake the runner for actions after a lost wake-up or a dead worker; link newly registered users."""
    executors.wake()
    return _linked(account_linking.link_registered_users(now=clock()))


def _linked(linked: SweepResult) -> Mapping[str, object]:
    """Return the summary of linking users. Raises TaskFailed."""
    if linked.failed:
        raise TaskFailed(f"{linked.done} linked; assignments failed: {linked.failed}")
    return {"linked": linked.done}


def _sweep_run(sweep: sweep_commands.SweepDefinition) -> Callable[[Clock], Mapping[str, object]]:
    def run(clock: Clock) -> Mapping[str, object]:
        swept = sweep.run(clock(), None)
        if swept.failed:
            raise TaskFailed(f"{swept.done} {sweep.participle}; budgets failed: {swept.failed}")
        return sweep_commands.summary_of(sweep, swept)

    return run


def _expire(clock: Clock) -> Mapping[str, object]:
    """Expire due assignments; none while `rebuild_runs` rewrites deadlines by this release's rules."""
    if rebuild_runs.unfinished():
        return {"waits_for": rebuild_runs.TASK}
    return _sweep_run(sweep_commands.EXPIRING)(clock)


def _forget(clock: Clock) -> Mapping[str, object]:
    """Remove the personal data of expired assignments, and the counts of sign-ins."""
    done = {**erasure_runs.run(now=clock()), "sign_in_failures": sign_in_limits.delete_old(now=clock())}
    if failed := done["failed_budgets"]:
        raise TaskFailed(f"Budgets failed: {failed}")
    return done


def _audit(clock: Clock) -> Mapping[str, object]:
    """Compare a sample of the derived columns with their expected values; repair nothing."""
    audit = derived_report.daily(clock=clock)
    if audit.wrong:
        raise TaskFailed(f"{derived_report.sentence(audit)} See `bursary audit_derived`.")
    return {"looked_at": audit.looked_at}


def _rekey(clock: Clock) -> Mapping[str, object]:
    """Give rows of an earlier release the key of their address."""
    done = mailbox_keys.rekey(clock=clock)
    if done.failed:
        raise TaskFailed(f"Batches failed: {done.failed}")
    return asdict(done)


TASKS: Sequence[TaskDefinition] = (
    TaskDefinition("sweep", timedelta(minutes=1), _sweep),
    TaskDefinition("events", timedelta(seconds=15), lambda clock: inbox.apply_due(clock=clock)),
    TaskDefinition(
        "refresh",
        timedelta(minutes=1),
        lambda clock: refresh_runs.refresh_run(clock=clock).summary(),
        SHORT_LEASE,
    ),
    TaskDefinition("rekey", timedelta(minutes=10), _rekey),
    TaskDefinition(rebuild_runs.TASK, timedelta(minutes=1), lambda clock: rebuild_runs.run(clock=clock)),
    TaskDefinition("expire", timedelta(minutes=5), _expire),
    TaskDefinition("remind", timedelta(minutes=15), _sweep_run(sweep_commands.REMINDING)),
    TaskDefinition("nudge", timedelta(minutes=15), _sweep_run(sweep_commands.NUDGING)),
    TaskDefinition("privacy", timedelta(hours=1), _forget),
    TaskDefinition(retention.TASK, timedelta(days=1), lambda clock: retention.run(clock=clock)),
    TaskDefinition("audit", timedelta(days=1), _audit),
    # Finds users that were not marked for the sweep, such as by an earlier release.
    TaskDefinition(
        "link", timedelta(days=1), lambda clock: _linked(account_linking.link_all_users(now=clock()))
    ),
    # Last, because it takes longest; and separate from `refresh`, so that due rows do not wait for it.
    TaskDefinition("listing", timedelta(minutes=1), _read_listing, lease=SHORT_LEASE),
)


def prepare(tasks: Sequence[TaskDefinition] = TASKS, *, now: datetime) -> QuerySet[ScheduledTask]:
    """Return the rows of these tasks. Missing rows are inserted, due now, so that a task that never runs is
    late."""
    rows = ScheduledTask.objects.filter(name__in=[task.name for task in tasks])
    missing = {task.name for task in tasks} - set(rows.values_list("name", flat=True))
    if missing:  # another process may be inserting them as well
        new = [ScheduledTask(name=name, due_at=now, early=leases.NOT_BEFORE) for name in missing]
        insert_missing(new, unique=["name"])
    return rows


def run_due(*, clock: Clock, tasks: Sequence[TaskDefinition] = TASKS) -> list[str]:
    """Run each due task that no other process is running; return the names of these tasks."""
    rows = prepare(tasks, now=clock())
    # One query before the claims, each of which is a transaction: mostly, few tasks are due.
    due = leases.first_due(rows, now=clock(), limit=len(tasks))
    pks = dict(rows.filter(pk__in=due).values_list("name", "pk")) if due else {}
    return [
        task.name for task in tasks if task.name in pks and _run_if_due(task, pk=pks[task.name], clock=clock)
    ]


def _run_if_due(task: TaskDefinition, *, pk: int, clock: Clock) -> bool:
    """Run a task if it is due; write its result and when it is next due. Return whether it ran."""
    now = clock()
    rows = ScheduledTask.objects.all
    claimed = leases.claim(rows, now=now, lease=task.lease, limit=1, pks=[pk], started_at=now)
    if not claimed:
        return False
    [row] = claimed
    summary: Mapping[str, object] = row.summary  # a task continues where its last successful run ended
    error = ""
    try:
        summary = task.run(renewing(row, clock=clock, lease=task.lease))
    except TaskFailed as failed:
        logger.warning("Task %s failed: %s", task.name, failed)
        error = texts.storable(str(failed), instead=texts.REPLACEMENT)
    except Exception as raised:  # noqa: BLE001  # the scheduler survives whatever a task raises, and logs it
        error = logs.log_failure(f"Task {task.name} failed", raised, log=logger)
    now = clock()
    failures = row.failures + 1 if error else 0
    wait = retries.back_off_ceiling(failures, first=FIRST_WAIT, longest=task.every) if error else task.every
    leases.settle(
        [row],
        due_at=now + wait,
        now=now,
        finished_at=now,
        failures=failures,
        last_error=error,
        summary=texts.storable_json(json.loads(to_json(summary)), instead=texts.REPLACEMENT),
    )
    return True


def start_threads(count: int) -> list[PollingThread]:
    """Start `count` scheduler threads in this process; none if cron or Celery's workers run the tasks."""
    if settings.CLOCK != "thread":
        return []
    threads = [
        PollingThread(
            f"bursary-scheduler-{number}",
            lambda: run_due(clock=timezone.now),
            seconds=POLL_SECONDS,
            failure="Running due tasks failed",
            log=logger,
        )
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads
