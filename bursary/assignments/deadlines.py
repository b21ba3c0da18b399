"""The deadline of an allocation: the earliest of four dates (decision 0004).

An extension takes the place of two of them, the due date and the allocation's age.

The rule stands here twice, in Python and in SQL: `derived` writes by the second, `expected_values` audits by
the first.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Case, DateTimeField, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least
from django.db.models.lookups import Exact, GreaterThan, LessThan

from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import FAR_FUTURE
from bursary.budgets.models import Budget
from bursary.lib.prepared import Slot, instant

GRACE = timedelta(hours=24)
"""How long nothing expires after a change brought its deadline forward: the change may be a mistake."""


def deadline(
    budget: Budget,
    *,
    enroll_by: datetime | None,
    allocated_at: datetime,
    due_date: datetime | None,
    extended_until: datetime | None = None,
) -> tuple[datetime, ExpiryReason]:
    """Return when an allocation ends, and which date decides; of equal dates the first in this order.

    `enroll_by` is when enrolment in the content closes, `due_date` the administrator's own deadline, and
    `extended_until` what an administrator extended it to.
    """
    dates = [
        (enroll_by or FAR_FUTURE, ExpiryReason.ENROLL_BY),
        (budget.ends_at or FAR_FUTURE, ExpiryReason.BUDGET_END),
    ]
    if extended_until:
        dates.append((extended_until, ExpiryReason.EXTENSION))
    else:
        age_ends_at = allocated_at + timedelta(days=budget.allocation_age_days)
        dates += [
            (due_date or FAR_FUTURE, ExpiryReason.DUE_DATE),
            (age_ends_at, ExpiryReason.ALLOCATION_AGE),
        ]
    return min(dates, key=lambda dated: dated[0])


def own_end(ref: Callable[[str], Combinable] = OuterRef) -> Combinable:
    """Return as SQL when an assignment ends by its own dates, whatever its content and budget.

    `ref` refers to its columns.
    """
    unextended = Least(ref("age_ends_at"), Coalesce(ref("due_date"), FAR_FUTURE))
    return Coalesce(ref("extended_until"), unextended)


def columns(
    *, age_ends_at: Combinable, enroll_by: Combinable, budget_end: Combinable, now: datetime | Slot
) -> dict[str, Combinable]:
    """Return `deadline` as SQL: the values of an assignment's `grace_until`, `expires_at`, `expires_reason`.

    The expressions may not be NULL. A deadline that the change brings forward, into the past or to less than
    `GRACE` from now, starts its grace; one that had passed before does not start it again.
    """
    dates: list[tuple[Combinable, ExpiryReason]] = [
        (enroll_by, ExpiryReason.ENROLL_BY),
        (budget_end, ExpiryReason.BUDGET_END),
        (Coalesce(F("extended_until"), FAR_FUTURE), ExpiryReason.EXTENSION),
        (_unless_extended(Coalesce(F("due_date"), FAR_FUTURE)), ExpiryReason.DUE_DATE),
        (_unless_extended(age_ends_at), ExpiryReason.ALLOCATION_AGE),
    ]
    least = Least(*(date for date, _reason in dates))
    soon = Q(LessThan(least, instant(now + GRACE)))
    brought_forward = Q(GreaterThan(F("expires_at"), least), expires_at__gt=now)
    return {
        # First, because MySQL assigns from left to right: it compares with the deadline before.
        "grace_until": Case(
            When(soon & brought_forward, then=instant(now + GRACE)),
            When(soon, then=F("grace_until")),
            default=Value(None, output_field=DateTimeField()),
        ),
        "expires_at": least,
        "expires_reason": Case(
            *(When(Exact(date, least), then=Value(reason)) for date, reason in dates[:-1]),
            default=Value(ExpiryReason.ALLOCATION_AGE),
        ),
    }


def _unless_extended(date: Combinable) -> Case:
    return Case(When(extended_until=None, then=date), default=Value(FAR_FUTURE))
