"""The dates on which a learner is reminded or nudged, from the budget's tables. Reads and writes no rows.

A date is covered by any mail sent at or after it. Dates that were missed while the scheduler stood still
therefore make one mail, for the latest of them, and no date makes two.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bursary.assignments.models import FAR_FUTURE
from bursary.budgets.models import Budget, read_days


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
