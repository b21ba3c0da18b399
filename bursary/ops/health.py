"""Whether the service does its work: the database answers, and due work is worked on.

Unwell is what an operator must repair before work goes on; degraded is what stops a part of it and needs no
other process, such as a mail server that is away.
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
"""Where due work has waited longer than this, and none was done for as long, no process carries it out."""
LONGEST_SKEW = timedelta(minutes=5)
"""An instant further ahead than this was written by a clock that was ahead."""
MAX_COUNTED = 10_000
MAX_EXAMINED = 1000
FAILURES_TO_REPORT = 5
"""In a row, of one scheduled task."""
RECENT_ACTIONS = 50_000
"""Failures are counted among so many newest actions, which bounds the cost of the answer."""

BY_A_RUNNER = WORK - {ActionType.REDEEMED}
"""Work that no request does on its own: done, it shows that a runner runs."""
OK = "ok"
DEGRADED = "degraded"
UNWELL = "unwell"


@dataclass(frozen=True)
class Health:
    """How the service is: `ok`, `degraded` or `unwell`. No figure is about a person; None is not known."""

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
    """Work and tasks that were written by a clock that was ahead."""
    problems: list[str] = field(default_factory=list)
    """Codes of what makes it unwell, then of what makes it degraded."""


def examine(*, now: datetime) -> Health:
    """Return the health, from queries that each read a bounded number of rows. Raises no database error."""
    try:
        return measure(now=now)
    except Error:  # PyMySQL's of a closed connection is no DatabaseError
        problems = ["database_unavailable", *sorted(storage.problems())]
        return Health(UNWELL, database=False, problems=problems)


def measure(*, now: datetime) -> Health:
    """Return the health, as `examine` does, but raise the database's errors."""
    actions = LearnerContentAssignmentAction.objects.all()
    oldest = leases.oldest_due(actions, now=now)
    waiting = now - oldest if oldest else timedelta(0)
    unfinished = actions.filter(early__gte=leases.NOT_BEFORE).order_by("early")  # a range of an index
    # Where cron runs the tasks, their rows say nothing.
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
    degraded = [server.cause] if server else []
    degraded += ["work_dated_ahead"] if ahead else []
    broker = executors.broker()
    if broker and not broker.reachable:
        executors.probe()  # or it would be degraded until this process next has work to announce
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
    """Return the number of failures of the last day that were neither retried nor skipped.

    Of the newest `MAX_COUNTED`, which are looked up by their pks: within a range of them, a database might
    compare all actions there are with each other.
    """
    actions = LearnerContentAssignmentAction.objects.all()
    newest = Subquery(actions.order_by("-pk").values("pk")[:1])
    failed = actions.filter(
        pk__gt=newest - RECENT_ACTIONS, status=Status.FAILED, completed_at__gte=now - timedelta(days=1)
    )
    pks = list(failed.order_by("-pk").values_list("pk", flat=True)[:MAX_COUNTED])
    return actions.unanswered_failures().filter(pk__in=pks).count()  # asks nothing where none failed


def _is_worked_on(now: datetime) -> bool:
    """Return whether a worker has an action now, or finished one lately: however much there is."""
    actions = LearnerContentAssignmentAction.objects.filter(action_type__in=BY_A_RUNNER)
    claimed = actions.filter(
        early=leases.NOT_BEFORE, due_at__range=(now, now + settings.LEASE), lease_until__gt=now
    )
    finished = actions.filter(
        status__in=[Status.DONE, Status.FAILED, Status.SKIPPED],
        completed_at__range=(now - LONGEST_DELAY, now),
        completed_at__gt=F("created"),  # what was done with its request shows no runner
    )
    return claimed.exists() or finished.exists()


def actions_ahead(now: datetime) -> list[int]:
    """Return the pks of actions that were written in the future, of the `MAX_EXAMINED` that are due last."""
    later = LearnerContentAssignmentAction.objects.filter(
        early=leases.NOT_BEFORE, due_at__gt=now + LONGEST_SKEW
    )
    written = later.order_by("-due_at").values_list("pk", "modified")[:MAX_EXAMINED]
    return [pk for pk, modified in written if _is_ahead(modified, now=now)]


def _is_ahead(written: datetime | None, *, now: datetime) -> bool:
    return written is not None and written > now + LONGEST_SKEW
