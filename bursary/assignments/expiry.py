"""Expiry: an open assignment past its deadline ends, and its money is free again."""

from collections.abc import Callable
from datetime import datetime

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from bursary.assignments import lifecycle, sweeps
from bursary.assignments.choices import ABOUT_ADDRESSES, ActionType, State
from bursary.assignments.deadline_notices import LONGEST_WAIT_FOR_NOTICE
from bursary.assignments.models import DeadlineNotice, LearnerContentAssignment
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.lib.prepared import Slot


def due(now: datetime | Slot) -> QuerySet[LearnerContentAssignment]:
    """Return what expires at `now`: open, past its deadline and its grace, and not being redeemed.

    After a deadline was brought forward, nothing expires until an administrator was notified of it, for at
    most `LONGEST_WAIT_FOR_NOTICE`.
    """
    notices = DeadlineNotice.objects.filter(
        Q(content=OuterRef("content")) | Q(content=None),
        budget=OuterRef("budget"),
        created__gt=now - LONGEST_WAIT_FOR_NOTICE,
    ).exclude(reason__in=ABOUT_ADDRESSES)
    waiting = Exists(notices.filter(Q(notified_at=None) | Q(grace_until__gt=now)))
    over = Q(grace_until=None) | (Q(grace_until__lte=now) & ~waiting)
    return LearnerContentAssignment.objects.filter(
        over, state=State.ALLOCATED, expires_at__lte=now, redeeming_since=None
    )


def count_due(now: datetime) -> dict[str, int]:
    """Return the numbers that would expire, by the reason of their deadline."""
    counts = due(now).order_by().values_list("expires_reason").annotate(count=Count("pk"))
    return {str(reason): count for reason, count in counts}


def expire_due(*, now: datetime, progress: Callable[[int], None] | None = None) -> SweepResult:
    """Expire everything that is due at `now`, batch by batch. Idempotent."""

    def expire(budget_pk: int, turn: int) -> int:
        with transaction.atomic():
            budget = ledger.lock(budget_pk)
            locked = sweeps.lock_batch(due, budget_pk, now=now, order="expires_at")
            lifecycle.move(budget, locked, ActionType.EXPIRED, now=now, turn=turn)
        return len(locked)

    return sweeps.sweep(due, expire, now=now, order="expires_at", progress=progress)
