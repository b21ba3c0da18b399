"""Expiry: whose deadline has passed unanswered loses the assignment, and the money is free again."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from bursary.assignments import lifecycle, sweeping
from bursary.assignments.models import ActionType, LearnerContentAssignment, State
from bursary.assignments.notices import DeadlineNotice
from bursary.assignments.sweeping import Sweep
from bursary.budgets import ledger

LONGEST_WAIT_FOR_NOTICE = timedelta(days=7)
"""A notice that cannot be sent holds the money no longer than this."""


def due(now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return what expires at `now`: open, past its deadline and its grace, and not being redeemed.

    Whose deadline moved into the past does not expire before the administrators were told.
    """
    untold = DeadlineNotice.objects.filter(
        budget=OuterRef("budget"), told_at=None, created__gt=now - LONGEST_WAIT_FOR_NOTICE
    )
    over = Q(grace_until=None) | (Q(grace_until__lte=now) & ~Exists(untold))
    return LearnerContentAssignment.objects.filter(
        over, state=State.ALLOCATED, expires_at__lte=now, redeeming_since=None
    )


def count_due(now: datetime) -> dict[str, int]:
    """Return how many would expire, by the reason of their deadline."""
    counts = due(now).order_by().values_list("expires_reason").annotate(count=Count("pk"))
    return {str(reason): count for reason, count in counts}


def expire_due(*, now: datetime, progress: Callable[[int], None] | None = None) -> Sweep:
    """Expire everything that is due at `now`, batch by batch. Repeating it does no harm."""

    def expire(budget_pk: int) -> int:
        with transaction.atomic():
            budget = ledger.lock(budget_pk)
            locked = sweeping.lock_batch(due, budget_pk, now=now, order="expires_at")
            lifecycle.move(budget, locked, ActionType.EXPIRED, now=now)
        return len(locked)

    return sweeping.sweep(due, expire, now=now, order="expires_at", progress=progress)
