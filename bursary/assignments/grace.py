"""The grace of a deadline that moved into the past: who is told of it, written in the change's transaction.

`derived.py` sets the grace; this comes after it, on the same signals.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, Q, QuerySet

from bursary.assignments.derived import GRACE
from bursary.assignments.models import LearnerContentAssignment, State
from bursary.assignments.notices import DeadlineNotice

PKS_PER_QUERY = 1000


def notice_content(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Make a notice for each budget in which a content's deadline moved into the past. Receives
    `content_changed`."""
    wanted = sorted(pks)
    for start in range(0, len(wanted), PKS_PER_QUERY):
        _notice(Q(content__in=wanted[start : start + PKS_PER_QUERY]), now=now)


def notice_budgets(*, pks: Iterable[int], now: datetime, **_signal: object) -> None:
    """Likewise where a budget's terms moved deadlines into the past. Receives `budget_changed`."""
    _notice(Q(budget__in=list(pks)), now=now)


def current(now: datetime) -> QuerySet[DeadlineNotice]:
    """Return the notices whose grace is not over at `now`, of what expires first."""
    running = DeadlineNotice.objects.filter(grace_until__gt=now)
    return running.select_related("content", "budget").defer("content__payload").order_by("grace_until", "id")


def _notice(concerned: Q, *, now: datetime) -> None:
    """Make a notice for each budget and content; a running one goes on instead, and nobody is told again."""
    until = now + GRACE
    moved = LearnerContentAssignment.objects.filter(concerned, state=State.ALLOCATED, grace_until=until)
    counts = moved.order_by().values_list("budget", "content").annotate(count=Count("pk"))
    found = {(budget, content): count for budget, content, count in counts}
    if not found:
        return
    running = DeadlineNotice.objects.filter(grace_until__gt=now, budget__in={budget for budget, _ in found})
    for notice in running.order_by("pk"):
        if count := found.pop((notice.budget_id, notice.content_id), 0):
            DeadlineNotice.objects.filter(pk=notice.pk).update(assignments=count, grace_until=until)
    DeadlineNotice.objects.bulk_create(
        DeadlineNotice(
            budget_id=budget,
            content_id=content,
            assignments=count,
            grace_until=until,
            created=now,
            due_at=now,
        )
        for (budget, content), count in found.items()
    )
