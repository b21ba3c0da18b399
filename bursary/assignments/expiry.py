"""Expiry: whose deadline has passed unanswered loses the assignment, and the money is free again.

The sweep claims by predicate, in batches: it never pages over a set that it changes. A batch is a budget's,
in one transaction, so that budgets do not wait for each other and one that fails stops no other.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError, transaction
from django.db.models import Count, QuerySet

from bursary.assignments import lifecycle
from bursary.assignments.models import ActionType, LearnerContentAssignment, State
from bursary.budgets import ledger
from bursary.budgets.ledger import LedgerError

logger = logging.getLogger(__name__)

BATCH = 500  # assignments a transaction
MOST_BATCHES = 100_000


@dataclass
class Sweep:
    """What a sweep did: assignments expired, and budgets (pks) in which it failed, with the error."""

    expired: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def due(now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return what expires at `now`: open, past its deadline, and not being redeemed."""
    return LearnerContentAssignment.objects.filter(
        state=State.ALLOCATED, expires_at__lte=now, redeeming_since=None
    )


def count_due(now: datetime) -> dict[str, int]:
    """Return how many would expire, by the reason of their deadline."""
    counts = due(now).order_by().values_list("expires_reason").annotate(count=Count("pk"))
    return {str(reason): count for reason, count in counts}


def expire_due(*, now: datetime, progress: Callable[[int], None] | None = None) -> Sweep:
    """Expire everything that is due at `now`, batch by batch. Repeating it does no harm."""
    sweep = Sweep()
    for _batch in range(MOST_BATCHES):
        waiting = due(now).exclude(budget__in=sweep.failed).order_by("expires_at", "id")
        budget_pk = waiting.values_list("budget_id", flat=True).first()
        if budget_pk is None:
            break
        try:
            sweep.expired += _expire_batch(budget_pk, now=now)
        except (DatabaseError, LedgerError, lifecycle.MoveRefused) as error:
            logger.exception("Expiring a batch failed", extra={"budget": budget_pk})
            sweep.failed[budget_pk] = f"{type(error).__name__}: {error}"
        if progress:
            progress(sweep.expired)
    return sweep


def _expire_batch(budget_pk: int, *, now: datetime) -> int:
    with transaction.atomic():
        budget = ledger.lock(budget_pk)
        batch = due(now).filter(budget=budget_pk).order_by("expires_at", "id")[:BATCH]
        # Locked in the order of keys, and asked again once locked: what moved meanwhile is left alone.
        pks = sorted(batch.values_list("pk", flat=True))
        locked = list(due(now).filter(pk__in=pks).select_for_update().order_by("pk"))
        lifecycle.move(budget, locked, ActionType.EXPIRED, now=now)
    return len(locked)
