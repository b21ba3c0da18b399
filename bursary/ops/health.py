"""Whether the service does its work: is the database there, and does anything wait too long?"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q

from bursary.assignments.choices import Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.ops.models import ScheduledTask
from bursary.replica import removal

LONGEST_DELAY = timedelta(minutes=5)
"""Nobody looks at due work any more, when some has waited longer than this."""
MOST_COUNTED = 10_000
FAILURES_TO_WORRY = 5
"""In a row, of one tick of the clock."""
RECENT_ACTIONS = 50_000
"""Failures are looked for among so many newest actions: the answer never costs more than that."""


@dataclass(frozen=True)
class Health:
    """How the service is. No figure tells of a person; None is not known."""

    status: str
    database: bool
    oldest_due_seconds: int | None = None
    pending: int | None = None
    failed_last_day: int | None = None
    late_ticks: list[str] | None = None
    """Ticks of the clock that should have run, and did not or failed."""
    catalog_alarms: int | None = None

    @property
    def well(self) -> bool:
        return self.status == "ok"

    def summary(self) -> dict[str, object]:
        """Return it as plain values."""
        return asdict(self)


def examine(*, now: datetime) -> Health:
    """Look, with five queries that each read a bounded number of rows. Never raises for a database away."""
    try:
        return look(now=now)
    except DatabaseError:
        return Health("unwell", database=False)


def look(*, now: datetime) -> Health:
    """Return the same; raises DatabaseError."""
    actions = LearnerContentAssignmentAction.objects.all()
    oldest = actions.due(now).values_list("due_at", flat=True).first()
    waiting = now - oldest if oldest else timedelta(0)
    unfinished = actions.filter(due_at__isnull=False).order_by("due_at")
    newest = actions.order_by("-pk").values_list("pk", flat=True).first() or 0
    failed = actions.filter(
        pk__gt=newest - RECENT_ACTIONS, status=Status.FAILED, completed_at__gte=now - timedelta(days=1)
    )
    overdue = Q(due_at__lte=now - LONGEST_DELAY) | Q(failures__gte=FAILURES_TO_WORRY)
    late = (
        list(ScheduledTask.objects.filter(overdue).values_list("name", flat=True))
        if settings.CLOCK == "thread"
        else []
    )
    return Health(
        status="ok" if waiting <= LONGEST_DELAY and not late else "unwell",
        database=True,
        oldest_due_seconds=int(waiting.total_seconds()),
        pending=unfinished.values("pk")[:MOST_COUNTED].count(),
        failed_last_day=failed.order_by("pk").values("pk")[:MOST_COUNTED].count(),
        late_ticks=late,
        catalog_alarms=len(removal.alarms()),
    )
