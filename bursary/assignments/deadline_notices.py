"""Notices to administrators about deadlines that a change brought forward, written with that change.

`derived.py` sets the grace for which nothing expires; this runs after it, on the same signals.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from bursary.assignments.choices import State
from bursary.assignments.deadlines import GRACE
from bursary.assignments.models import DeadlineNotice, LearnerContentAssignment
from bursary.lib import leases
from bursary.lib.batches import chunks
from bursary.lib.locks import for_update

LONGEST_WAIT_FOR_NOTICE = timedelta(days=7)
"""A notice that cannot be delivered holds the money no longer than this, and is not retried any longer."""
PKS_PER_QUERY = 1000
BATCHES_END_WITHIN = timedelta(minutes=30)
"""How long the mail waits for further batches of one change, so that it gives the total."""


def notice_content(*, pks: Iterable[int], now: datetime, in_batches: bool = False, **_signal: object) -> None:
    """Write a notice for each budget in which a change of content brought a deadline forward, past or near.

    Receives `content_changed`.

    `in_batches`: more may follow, each in a transaction of its own.
    """
    for page in chunks(sorted(pks), PKS_PER_QUERY):
        _write_notices(Q(content__in=page), now=now, in_batches=in_batches)


def notice_budgets(*, pks: Iterable[int], now: datetime, in_batches: bool = False, **_signal: object) -> None:
    """Likewise where a budget's terms brought deadlines forward. Receives `budget_changed`."""
    _write_notices(Q(budget__in=list(pks)), now=now, in_batches=in_batches)


def current(now: datetime) -> QuerySet[DeadlineNotice]:
    """Return the notices with a grace that is not over at `now`, the first to expire first.

    Without those of which every assignment was accepted, has ended, or got a later deadline meanwhile.
    """
    waiting = LearnerContentAssignment.objects.filter(
        budget=OuterRef("budget"), content=OuterRef("content"), state=State.ALLOCATED, grace_until__gt=now
    )
    running = DeadlineNotice.objects.filter(Exists(waiting), grace_until__gt=now)
    return running.select_related("content", "budget").defer("content__payload").order_by("grace_until", "id")


def _write_notices(concerned: Q, *, now: datetime, in_batches: bool) -> None:
    """Write a notice for each budget and content of which a deadline moved just now, or extend the one that
    runs. Administrators notified of fewer assignments are notified again.

    A notice counts the assignments that wait for their grace to end, not those that one change added.
    """
    until, at = now + GRACE, now + BATCHES_END_WITHIN
    waiting = LearnerContentAssignment.objects.filter(concerned, state=State.ALLOCATED, grace_until__gt=now)
    moved = Count("pk", filter=Q(grace_until=until))
    counts = waiting.order_by().values_list("budget", "content").annotate(count=Count("pk"), moved=moved)
    found = {(budget, content): count for budget, content, count, _moved in counts.filter(moved__gt=0)}
    if not found:
        return
    running = DeadlineNotice.objects.filter(grace_until__gt=now, budget__in={budget for budget, _ in found})
    for notice in for_update(running).order_by("pk"):
        if count := found.pop((notice.budget_id, notice.content_id), 0):
            more = notice.attempts > 0 and count > notice.assignments
            DeadlineNotice.objects.filter(pk=notice.pk).update(
                assignments=count, grace_until=until, edition=notice.edition + more
            )
            if more and notice.notified:
                row = DeadlineNotice.objects.filter(pk=notice.pk)
                row.update(notified=[], notified_at=None)
                leases.postpone(row, until=at, now=now)
    DeadlineNotice.objects.bulk_create(
        DeadlineNotice(
            budget_id=budget,
            content_id=content,
            assignments=count,
            grace_until=until,
            created=now,
            due_at=at if in_batches else now,
            early=leases.NOT_BEFORE,
        )
        for (budget, content), count in found.items()
    )
