"""The dates of an assignment: when it ends, and on which its learner is reminded or nudged.

The deadline is the earliest of four dates (decision 0004); an extension takes the place of two of them, the
due date and the allocation's age. The rule stands here twice, in Python and in SQL: `derived` writes by the
second, `expected_values` audits by the first.

Reminders and nudges come from the budget's tables. A date is covered by any mail sent at or after it. Dates
that were missed while the scheduler stood still therefore make one mail, for the latest of them, and no date
makes two.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, DateTimeField, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least
from django.db.models.lookups import Exact, GreaterThan, LessThan

from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment
from bursary.budgets.models import Budget, read_days
from bursary.lib.prepared import Slot, instant

GRACE = timedelta(hours=24)
"""How long nothing expires after a change brought its deadline forward: the change may be a mistake."""


@dataclass(frozen=True, order=True)
class ReminderDate:
    """An instant at which to write to a learner; `name` becomes the action's `dedup_key`."""

    at: datetime
    name: str


@dataclass(frozen=True)
class ReminderPlan:
    """The date that is due now, if any, and when to check next."""

    due: ReminderDate | None
    next_check: datetime


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


def end_by_own_dates(ref: Callable[[str], Combinable] = OuterRef) -> Combinable:
    """Return as SQL when an assignment ends by its extension, else by its age or due date.

    `ref` refers to its columns.
    """
    unextended = Least(ref("age_ends_at"), Coalesce(ref("due_date"), FAR_FUTURE))
    return Coalesce(ref("extended_until"), unextended)


def end_without_content(assignment: LearnerContentAssignment, *, age_ends_at: datetime) -> datetime:
    """Return when an assignment ends by its own dates, as `end_by_own_dates` does, or its budget's end."""
    unextended = min(age_ends_at, assignment.due_date or FAR_FUTURE)
    return min(assignment.extended_until or unextended, assignment.budget.ends_at or FAR_FUTURE)


def deadline_columns(
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


def reminders(budget: Budget, *, allocated_at: datetime, expires_at: datetime) -> list[ReminderDate]:
    """Return the dates on which a learner is reminded of an open assignment, all before its deadline."""
    after = [
        ReminderDate(allocated_at + timedelta(days=days), f"after-{days}-days")
        for days in read_days(budget.remind_days_after)
    ]
    before = _before(expires_at, read_days(budget.remind_days_before))
    return sorted(one for one in (*after, *before) if one.at < expires_at)


def nudges(budget: Budget, *, starts_at: datetime) -> list[ReminderDate]:
    """Return the dates on which a learner is nudged before the content starts."""
    return sorted(_before(starts_at, read_days(budget.nudge_days_before)))


def plan(
    dates: Iterable[ReminderDate], *, last_contact: datetime, used: Collection[str], now: datetime
) -> ReminderPlan:
    """Return the latest of `dates` that is due at `now` and lies after `last_contact`, and the next check.

    `used` are the names of dates that made a mail before.
    """
    ahead = [one for one in dates if one.at > last_contact]
    passed = [one for one in ahead if one.at <= now]
    due = passed[-1] if passed and passed[-1].name not in used else None
    return ReminderPlan(due, first(ahead, after=now))


def first(dates: Iterable[ReminderDate], *, after: datetime) -> datetime:
    """Return the first of the dates after an instant; FAR_FUTURE without one."""
    return min((one.at for one in dates if one.at > after), default=FAR_FUTURE)


def _before(instant: datetime, days: Iterable[int]) -> list[ReminderDate]:
    """Return dates so many days before an instant, named after it, so that moving it makes new dates."""
    if instant >= FAR_FUTURE:
        return []
    return [
        ReminderDate(instant - timedelta(days=ahead), f"{ahead}-days-before-{instant:%Y-%m-%dT%H%M}")
        for ahead in days
    ]
