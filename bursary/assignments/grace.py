"""The grace of a deadline that moved into the past: who is told of it, written in the change's transaction.

`derived.py` sets the grace; this comes after it, on the same signals.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from bursary.assignments.choices import State
from bursary.assignments.deadline_notices import DeadlineNotice
from bursary.assignments.deadlines import GRACE
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib.locks import for_update

PKS_PER_QUERY = 1000
SETTLES_IN = timedelta(minutes=30)
"""How long the mail waits for what comes in batches, so that it says how many there are in all."""

_AGAIN: dict[str, object] = {"told": [], "told_at": None}


def notice_content(*, pks: Iterable[int], now: datetime, in_batches: bool = False, **_signal: object) -> None:
    """Make a notice for each budget in which a content's deadline moved into the past. Receives
    `content_changed`.

    `in_batches`: more of them may follow, each in a transaction of its own.
    """
    wanted = sorted(pks)
    due_at = now + SETTLES_IN if in_batches else now
    for start in range(0, len(wanted), PKS_PER_QUERY):
        _notice(Q(content__in=wanted[start : start + PKS_PER_QUERY]), now=now, due_at=due_at)


def notice_budgets(*, pks: Iterable[int], now: datetime, in_batches: bool = False, **_signal: object) -> None:
    """Likewise where a budget's terms moved deadlines into the past. Receives `budget_changed`."""
    _notice(Q(budget__in=list(pks)), now=now, due_at=now + SETTLES_IN if in_batches else now)


def current(now: datetime) -> QuerySet[DeadlineNotice]:
    """Return the notices whose grace is not over at `now`, of what expires first.

    Where the deadline moved again meanwhile, or whoever had one answered, nothing is said any more.
    """
    waiting = LearnerContentAssignment.objects.filter(
        budget=OuterRef("budget"), content=OuterRef("content"), state=State.ALLOCATED, grace_until__gt=now
    )
    running = DeadlineNotice.objects.filter(Exists(waiting), grace_until__gt=now)
    return running.select_related("content", "budget").defer("content__payload").order_by("grace_until", "id")


def _notice(concerned: Q, *, now: datetime, due_at: datetime) -> None:
    """Make a notice for each budget and content of which something moved just now. A running one goes on
    instead; who was told of fewer is told again, and nobody else.

    It says how many wait for their grace to end, not how many this one change added to them.
    """
    until = now + GRACE
    waiting = LearnerContentAssignment.objects.filter(concerned, state=State.ALLOCATED, grace_until__gt=now)
    moved = Count("pk", filter=Q(grace_until=until))
    counts = waiting.order_by().values_list("budget", "content").annotate(count=Count("pk"), moved=moved)
    found = {(budget, content): count for budget, content, count, _moved in counts.filter(moved__gt=0)}
    if not found:
        return
    running = DeadlineNotice.objects.filter(grace_until__gt=now, budget__in={budget for budget, _ in found})
    for notice in for_update(running).order_by("pk"):
        if count := found.pop((notice.budget_id, notice.content_id), 0):
            told_of_fewer = bool(notice.told) and count > notice.assignments
            again = _AGAIN | {"due_at": now + SETTLES_IN} if told_of_fewer else {}
            DeadlineNotice.objects.filter(pk=notice.pk).update(assignments=count, grace_until=until, **again)
    DeadlineNotice.objects.bulk_create(
        DeadlineNotice(
            budget_id=budget,
            content_id=content,
            assignments=count,
            grace_until=until,
            created=now,
            due_at=due_at,
        )
        for (budget, content), count in found.items()
    )
