"""The dates of an assignment: its deadline, and when its learner is reminded or nudged.

The deadline is the earliest of four dates (decision 0004); an extension replaces two of them, the due date
and the allocation's age. The rule is here in Python and in SQL: `derived` writes the deadlines of new
allocations by `deadline`, and all later ones by `deadline_columns`; `expected_values` audits by `deadline`.

The content's date counts only the runs with enrolment that opens before the deadline by the other three
dates. So that deadline is computed first, by `deadline_without_enroll_by`: here in Python and in SQL, and in
`impact` as a condition.

Reminders and nudges come from the budget's lists of days. Any mail sent at or after a date covers it. So
after a pause of the scheduler, the missed dates cause one mail, for the latest of them, and no date causes
two.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, DateTimeField, F, OuterRef, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least
from django.db.models.lookups import Exact, GreaterThan, LessThan

from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, read_days
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.prepared import Parameter, as_expression

GRACE = timedelta(hours=24)
"""An assignment does not expire for so long after a change that brings its deadline into the past, or to less
than so long from now: the change may be a mistake."""


@dataclass(frozen=True, order=True)
class MailDate:
    """An instant at which a reminder or nudge is due; `name` becomes the action's `dedup_key`."""

    at: datetime
    name: str


@dataclass(frozen=True)
class MailPlan:
    """The date that is due now, if any, and when to check next."""

    due: MailDate | None
    next_check: datetime


def deadline(
    budget: Budget,
    *,
    join_by: datetime | None,
    allocated_at: datetime,
    due_date: datetime | None,
    extended_until: datetime | None = None,
) -> tuple[datetime, ExpiryReason]:
    """Return the deadline of an allocation, and which date decides it: of equal dates, the first here.

    `join_by` is when enrolment closes in the last run that can be joined, `due_date` the administrator's own
    deadline, and `extended_until` the date to which an administrator extended it.
    """
    age_ends_at = allocated_at + timedelta(days=budget.allocation_age_days)
    return _least(
        budget, join_by=join_by, age_ends_at=age_ends_at, due_date=due_date, extended_until=extended_until
    )


def _least(
    budget: Budget,
    *,
    join_by: datetime | None,
    age_ends_at: datetime,
    due_date: datetime | None,
    extended_until: datetime | None,
) -> tuple[datetime, ExpiryReason]:
    dates = [
        (join_by or FAR_FUTURE, ExpiryReason.ENROLL_BY),
        (budget.ends_at or FAR_FUTURE, ExpiryReason.BUDGET_END),
    ]
    if extended_until:
        dates.append((extended_until, ExpiryReason.EXTENSION))
    else:
        dates += [
            (due_date or FAR_FUTURE, ExpiryReason.DUE_DATE),
            (age_ends_at, ExpiryReason.ALLOCATION_AGE),
        ]
    return min(dates, key=lambda dated: dated[0])


def deadline_without_enroll_by(assignment: LearnerContentAssignment, *, age_ends_at: datetime) -> datetime:
    """Return the deadline that an assignment would have if its content had no dates."""
    earliest, _reason = _least(
        assignment.budget,
        join_by=None,
        age_ends_at=age_ends_at,
        due_date=assignment.due_date,
        extended_until=assignment.extended_until,
    )
    return earliest


def deadline_without_enroll_by_at_allocation(
    budget: Budget, *, now: datetime, due_date: datetime | None
) -> datetime:
    """Return the deadline of an allocation now if its content had no dates: enrolment must open before it."""
    return deadline(budget, join_by=None, allocated_at=now, due_date=due_date)[0]


def deadline_without_enroll_by_sql(*, budget_end: Combinable) -> Combinable:
    """Return `deadline_without_enroll_by` as SQL, for a subquery about an assignment."""
    unextended = Least(OuterRef("age_ends_at"), Coalesce(OuterRef("due_date"), FAR_FUTURE))
    return Least(Coalesce(OuterRef("extended_until"), unextended), budget_end)


def deadline_columns(
    *, age_ends_at: Combinable, join_by: Combinable, budget_end: Combinable, now: datetime | Parameter
) -> dict[str, Combinable]:
    """Return `deadline` as SQL: the values of an assignment's `grace_until`, `expires_at`, `expires_reason`.

    The expressions must not be NULL. The grace starts when the change brings the deadline forward to less
    than `GRACE` from now, or into the past. It does not start again for a deadline that had passed before.
    """
    dates: list[tuple[Combinable, ExpiryReason]] = [
        (join_by, ExpiryReason.ENROLL_BY),
        (budget_end, ExpiryReason.BUDGET_END),
        (Coalesce(F("extended_until"), FAR_FUTURE), ExpiryReason.EXTENSION),
        (_unless_extended(Coalesce(F("due_date"), FAR_FUTURE)), ExpiryReason.DUE_DATE),
        (_unless_extended(age_ends_at), ExpiryReason.ALLOCATION_AGE),
    ]
    least = Least(*(date for date, _reason in dates))
    soon = Q(LessThan(least, as_expression(now + GRACE)))
    brought_forward = Q(GreaterThan(F("expires_at"), least), expires_at__gt=now)
    return {
        # First, because MySQL assigns from left to right, and this compares with the old `expires_at`.
        "grace_until": Case(
            When(soon & brought_forward, then=as_expression(now + GRACE)),
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


def reminders(budget: Budget, *, allocated_at: datetime, expires_at: datetime) -> list[MailDate]:
    """Return the dates on which a learner is reminded of an open assignment, all before its deadline."""
    after = [
        MailDate(allocated_at + timedelta(days=days), f"after-{days}-days")
        for days in read_days(budget.remind_days_after)
    ]
    before = _before(expires_at, read_days(budget.remind_days_before))
    return sorted(one for one in (*after, *before) if one.at < expires_at)


def nudges(budget: Budget, *, starts_at: datetime) -> list[MailDate]:
    """Return the dates on which a learner is nudged before the content starts."""
    return sorted(_before(starts_at, read_days(budget.nudge_days_before)))


def plan(
    dates: Iterable[MailDate], *, last_contact: datetime, used: Collection[str], now: datetime
) -> MailPlan:
    """Return the latest of `dates` after `last_contact` that is due at `now`, and when to check next.

    `used` are the names of dates for which a mail was requested before.
    """
    uncovered = [one for one in dates if one.at > last_contact]
    passed = [one for one in uncovered if one.at <= now]
    due = passed[-1] if passed and passed[-1].name not in used else None
    return MailPlan(due, first(uncovered, after=now))


def first(dates: Iterable[MailDate], *, after: datetime) -> datetime:
    """Return the first of the dates after an instant, else FAR_FUTURE."""
    return min((one.at for one in dates if one.at > after), default=FAR_FUTURE)


def _before(moment: datetime, days: Iterable[int]) -> list[MailDate]:
    """Return dates so many days before an instant. Their names contain it, so that moving it makes new
    ones."""
    if moment >= FAR_FUTURE:
        return []
    return [
        MailDate(moment - timedelta(days=number), f"{number}-days-before-{moment:%Y-%m-%dT%H%M}")
        for number in days
    ]
