"""The health of the service: whether the database answers, and whether due work is done.

`unwell` means that work stops until an operator repairs something; `degraded`, that a part of it stops and
more processes would not help, such as when the mail server does not answer.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import Error
from django.db.models import F, Subquery

from bursary.assignments.choices import WORK, ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import executors, mail_server
from bursary.lib import leases
from bursary.ops import storage
from bursary.ops.models import ScheduledTask
from bursary.replica import removal

LONGEST_DELAY = timedelta(minutes=5)
"""If due work has waited longer than this, and none was done for as long, no runner is running."""
LONGEST_SKEW = timedelta(minutes=5)
"""An instant further in the future than this was written by a wrong clock."""
MAX_COUNTED = 10_000
MAX_EXAMINED = 1000
FAILURES_TO_REPORT = 5
"""A scheduled task that has failed so often in a row is reported."""
RECENT_ACTIONS = 50_000
"""Failures are counted among the newest actions only, so many, which bounds the query's cost."""

BY_A_RUNNER = WORK - {ActionType.REDEEMED}
"""Work that only a runner does, never a request: once done, it shows that a runner is running."""
OK = "ok"
DEGRADED = "degraded"
UNWELL = "unwell"


@dataclass(frozen=True)
class Health:
    """The service's status, and figures about it: None if unknown, and none about a person."""

    status: str
    database: bool
    oldest_due_seconds: int | None = None
    pending: int | None = None
    failed_last_day: int | None = None
    late_ticks: list[str] | None = None
    """Names of scheduled tasks that are late or keep failing."""
    catalog_alarms: int | None = None
    mail_trouble_seconds: int | None = None
    """How long the mail server has been in trouble."""
    dated_ahead: int | None = None
    """Number of actions and tasks that were written by a wrong clock, in the future."""
    problems: list[str] = field(default_factory=list)
    """Codes of the problems: first those that make it unwell, then those that make it degraded."""


def examine(*, now: datetime) -> Health:
    """Return the health. Each query reads a bounded number of rows. Raises no database error."""
    try:
        return measure(now=now)
    except Error:  # PyMySQL's error for a closed connection is not a DatabaseError
        problems = ["database_unavailable", *sorted(storage.problems())]
        return Health(UNWELL, database=False, problems=problems)


def measure(*, now: datetime) -> Health:
    """Return the health, as `examine` does, but raise the database's errors."""
    actions = LearnerContentAssignmentAction.objects.all()
    oldest = leases.oldest_due(actions, now=now)
    waiting = now - oldest if oldest else timedelta(0)
    unfinished = actions.filter(early__gte=leases.NOT_BEFORE).order_by("early")  # a range of an index
    # If cron runs the tasks, their rows are not written.
    tasks = list(ScheduledTask.objects.order_by("name")) if settings.CLOCK != "none" else []
    late = [
        one.name
        for one in tasks
        if one.failures >= FAILURES_TO_REPORT or (one.due_at and one.due_at <= now - LONGEST_DELAY)
    ]
    ahead = len(actions_ahead(now)) + sum(_is_ahead(one.finished_at, now=now) for one in tasks)
    server = mail_server.in_trouble()
    trouble = now - server.trouble_since if server and server.trouble_since else timedelta(0)
    found = {
        "work_not_done": waiting > LONGEST_DELAY and not _is_worked_on(now),
        "tasks_late": bool(late),
    }
    unwell = sorted({code for code, applies in found.items() if applies} | storage.problems())
    degraded = [server.error_code] if server else []
    degraded += ["work_dated_ahead"] if ahead else []
    broker = executors.broker()
    if broker and not broker.reachable:
        executors.probe()  # otherwise it stays degraded until this process next sends a wake-up
    degraded += ["broker_unreachable"] if broker and not broker.reachable else []
    return Health(
        status=UNWELL if unwell else DEGRADED if degraded else OK,
        database=True,
        oldest_due_seconds=int(waiting.total_seconds()),
        pending=unfinished.values("pk")[:MAX_COUNTED].count(),
        failed_last_day=_failed_last_day(now),
        late_ticks=late,
        catalog_alarms=len(removal.alarms()),
        mail_trouble_seconds=max(0, int(trouble.total_seconds())),
        dated_ahead=ahead,
        problems=[*unwell, *degraded],
    )


def _failed_last_day(now: datetime) -> int:
    """Return the number of unresolved failures of the last day, of their assignments' current cycles.

    Only the newest `MAX_COUNTED` are counted. They are looked up by their pks: with a range of pks, a
    database might compare all actions with each other.
    """
    actions = LearnerContentAssignmentAction.objects.all()
    newest = Subquery(actions.order_by("-pk").values("pk")[:1])
    failed = actions.filter(
        pk__gt=newest - RECENT_ACTIONS, status=Status.FAILED, completed_at__gte=now - timedelta(days=1)
    )
    pks = list(failed.order_by("-pk").values_list("pk", flat=True)[:MAX_COUNTED])
    unresolved = actions.unresolved_failures().filter(pk__in=pks, cycle=F("assignment__cycle"))
    return unresolved.count()  # no query if none failed


def _is_worked_on(now: datetime) -> bool:
    """Return whether a worker has claimed an action, or finished one lately, however long the backlog is."""
    actions = LearnerContentAssignmentAction.objects.filter(action_type__in=BY_A_RUNNER)
    claimed = actions.filter(
        early=leases.NOT_BEFORE, due_at__range=(now, now + settings.LEASE), lease_until__gt=now
    )
    finished = actions.filter(
        status__in=[Status.DONE, Status.FAILED, Status.SKIPPED],
        completed_at__range=(now - LONGEST_DELAY, now),
        completed_at__gt=F("created"),  # an action that is finished when it is created does not show a runner
    )
    return claimed.exists() or finished.exists()


def actions_ahead(now: datetime) -> list[int]:
    """Return the pks of actions that were written in the future, among the `MAX_EXAMINED` due last."""
    later = LearnerContentAssignmentAction.objects.filter(
        early=leases.NOT_BEFORE, due_at__gt=now + LONGEST_SKEW
    )
    written = later.order_by("-due_at").values_list("pk", "modified")[:MAX_EXAMINED]
    return [pk for pk, modified in written if _is_ahead(modified, now=now)]


def _is_ahead(written: datetime | None, *, now: datetime) -> bool:
    return written is not None and written > now + LONGEST_SKEW
