"""Whether the service does its work: the database answers, and no due work waits too long."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q, Subquery

from bursary.assignments.choices import Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.lib import leases
from bursary.ops.models import ScheduledTask
from bursary.replica import removal

LONGEST_DELAY = timedelta(minutes=5)
"""Where due work has waited longer than this, no process carries it out any more."""
MOST_COUNTED = 10_000
FAILURES_TO_WORRY = 5
"""In a row, of one scheduled task."""
RECENT_ACTIONS = 50_000
"""Failures are counted among so many newest actions, which bounds the cost of the answer."""


@dataclass(frozen=True)
class Health:
    """How the service is. No figure is about a person; None is not known."""

    status: str
    database: bool
    oldest_due_seconds: int | None = None
    pending: int | None = None
    failed_last_day: int | None = None
    late_ticks: list[str] | None = None
    """Names of scheduled tasks that are late or keep failing."""
    catalog_alarms: int | None = None


def examine(*, now: datetime) -> Health:
    """Return the health, from queries that each read a bounded number of rows. Raises no DatabaseError."""
    try:
        return measure(now=now)
    except DatabaseError:
        return Health("unwell", database=False)


def measure(*, now: datetime) -> Health:
    """Return the same; raises DatabaseError."""
    actions = LearnerContentAssignmentAction.objects.all()
    oldest = leases.oldest_due(actions, now=now)
    waiting = now - oldest if oldest else timedelta(0)
    unfinished = actions.filter(early__gte=leases.NOT_BEFORE).order_by("early")  # a range of an index
    newest = Subquery(actions.order_by("-pk").values("pk")[:1])
    failed = actions.filter(
        pk__gt=newest - RECENT_ACTIONS, status=Status.FAILED, completed_at__gte=now - timedelta(days=1)
    )
    overdue = Q(due_at__lte=now - LONGEST_DELAY) | Q(failures__gte=FAILURES_TO_WORRY)
    late: list[str] = []
    if settings.CLOCK == "thread":  # otherwise cron runs the tasks
        late = list(ScheduledTask.objects.filter(overdue).values_list("name", flat=True))
    return Health(
        status="ok" if waiting <= LONGEST_DELAY and not late else "unwell",
        database=True,
        oldest_due_seconds=int(waiting.total_seconds()),
        pending=unfinished.values("pk")[:MOST_COUNTED].count(),
        failed_last_day=failed.order_by("pk").values("pk")[:MOST_COUNTED].count(),
        late_ticks=late,
        catalog_alarms=len(removal.alarms()),
    )
