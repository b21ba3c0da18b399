"""When a learner is to be reminded or nudged, by the budget's tables: reckoning, without reading or writing.

An occasion is covered by whatever the learner heard at or after it. So occasions that were missed while
nobody looked make one mail together, the latest, and none is ever made twice.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bursary.assignments.models import FAR_FUTURE
from bursary.budgets.models import Budget, read_days


@dataclass(frozen=True, order=True)
class ReminderDate:
    """A moment at which to write to a learner, and the name that tells it apart from the others."""

    at: datetime
    name: str


@dataclass(frozen=True)
class ReminderPlan:
    """What is to be done now, if anything, and when to look again."""

    due: ReminderDate | None
    look_at: datetime


def reminders(budget: Budget, *, allocated_at: datetime, expires_at: datetime) -> list[ReminderDate]:
    """Return the occasions on which a learner is reminded of an open assignment, all before its deadline."""
    after = [
        ReminderDate(allocated_at + timedelta(days=days), f"after-{days}-days")
        for days in read_days(budget.remind_days_after)
    ]
    before = _before(expires_at, read_days(budget.remind_days_before))
    return sorted(one for one in (*after, *before) if one.at < expires_at)


def nudges(budget: Budget, *, starts_at: datetime) -> list[ReminderDate]:
    """Return the occasions on which a learner is told that the content starts soon."""
    return sorted(_before(starts_at, read_days(budget.nudge_days_before)))


def plan(
    occasions: Iterable[ReminderDate], *, heard_at: datetime, made: Collection[str], now: datetime
) -> ReminderPlan:
    """Return the latest occasion that is due at `now`, after the learner heard last, and the next to look at.

    `made` are the names of occasions that were made already.
    """
    ahead = [one for one in occasions if one.at > heard_at]
    passed = [one for one in ahead if one.at <= now]
    due = passed[-1] if passed and passed[-1].name not in made else None
    return ReminderPlan(due, min((one.at for one in ahead if one.at > now), default=FAR_FUTURE))


def first_look(occasions: Iterable[ReminderDate], *, after: datetime) -> datetime:
    """Return when the first of the occasions after a moment comes; FAR_FUTURE without one."""
    return min((one.at for one in occasions if one.at > after), default=FAR_FUTURE)


def _before(moment: datetime, days: Iterable[int]) -> list[ReminderDate]:
    """Return occasions so many days before a moment, named after it: when it moves they are others."""
    if moment >= FAR_FUTURE:
        return []
    return [
        ReminderDate(moment - timedelta(days=ahead), f"{ahead}-days-before-{moment:%Y-%m-%dT%H%M}")
        for ahead in days
    ]
