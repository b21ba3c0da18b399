"""Expiry: an open assignment ends after its deadline, and its reserved money is free again."""

from datetime import datetime

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from bursary.assignments import lifecycle, sweeps
from bursary.assignments.administrator_notices import LONGEST_WAIT_FOR_NOTICE
from bursary.assignments.choices import ADDRESS_REASONS, ActionType
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.assignments.open_assignments import is_overdue_sql
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.lib.batches import ProgressCallback
from bursary.lib.prepared import Parameter


def to_expire(now: datetime | Parameter) -> QuerySet[LearnerContentAssignment]:
    """Return the assignments that expire at `now`: open, past the deadline and its grace, and not being
    accepted at this moment (a redemption is in flight).

    Where a change brought the deadline near or into the past, an assignment has a grace (`dates.GRACE`), and
    waits for the notice to an administrator, for `LONGEST_WAIT_FOR_NOTICE` at most; not for one that was
    resolved before it was sent, and is not sent any more. `now` may be a prepared statement's parameter.
    """
    # A notice without content is of a change of the budget, for all its assignments.
    notices = AdministratorNotice.objects.filter(
        Q(content=OuterRef("content")) | Q(content=None),
        budget=OuterRef("budget"),
        resolved_at=None,
        created__gt=now - LONGEST_WAIT_FOR_NOTICE,
    ).exclude(reason__in=ADDRESS_REASONS)
    blocked_by_notice = Exists(notices.filter(Q(notified_at=None) | Q(no_expiry_before__gt=now)))
    grace_passed = Q(grace_until=None) | (Q(grace_until__lte=now) & ~blocked_by_notice)
    return LearnerContentAssignment.objects.filter(grace_passed, is_overdue_sql(now=now))


def count_due(now: datetime) -> dict[str, int]:
    """Return the number of assignments that would expire, by the reason of their deadline."""
    counts = to_expire(now).order_by().values_list("expires_reason").annotate(count=Count("pk"))
    return {str(reason): count for reason, count in counts}


def expire_due(*, now: datetime, on_progress: ProgressCallback | None = None) -> SweepResult:
    """Expire all assignments that are due at `now`, in batches. Idempotent."""

    def expire(budget_pk: int, turn: int) -> int:
        """Expire a batch: its first mail is due `turn` seconds from now, each further one a second later."""
        with transaction.atomic():
            budget = ledger.lock(budget_pk)
            locked = sweeps.lock_batch(to_expire, budget_pk, now=now, order="expires_at")
            lifecycle.move(budget, locked, ActionType.EXPIRED, now=now, turn=turn)
        return len(locked)

    return sweeps.sweep(to_expire, expire, now=now, order="expires_at", on_progress=on_progress)
