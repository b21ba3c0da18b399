"""Occasions: which there are, which are due, and when to look again."""

from datetime import timedelta

from bursary.assignments import reminder_dates
from bursary.assignments.models import FAR_FUTURE
from bursary.assignments.reminder_dates import ReminderDate
from bursary.budgets.models import Budget
from tests.world import NOW

DAY = timedelta(days=1)
EXPIRES = NOW + 90 * DAY


def tables(*, after: str = "", before: str = "", nudge: str = "") -> Budget:
    return Budget(remind_days_after=after, remind_days_before=before, nudge_days_before=nudge)


def days_of(occasions: list[ReminderDate]) -> list[int]:
    return [(one.at - NOW).days for one in occasions]


def test_reminders_come_days_after_the_allocation_and_days_before_the_deadline() -> None:
    budget = tables(after="7, 30", before="1,7")
    assert days_of(reminder_dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES)) == [7, 30, 83, 89]


def test_no_reminder_comes_at_the_deadline_or_after_it() -> None:
    budget = tables(after="7,30,90,120")
    assert days_of(reminder_dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES)) == [7, 30]


def test_without_a_table_and_without_a_date_there_are_none() -> None:
    assert reminder_dates.reminders(tables(), allocated_at=NOW, expires_at=EXPIRES) == []
    assert reminder_dates.nudges(tables(nudge="7"), starts_at=FAR_FUTURE) == []


def test_a_deadline_that_moves_makes_another_occasion() -> None:
    budget = tables(before="7")
    (first,) = reminder_dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES)
    (second,) = reminder_dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES + DAY)
    assert first.name != second.name


def test_the_latest_of_several_missed_occasions_is_due_and_the_next_is_looked_for() -> None:
    occasions = [ReminderDate(NOW + days * DAY, str(days)) for days in (7, 30, 60)]
    plan = reminder_dates.plan(occasions, heard_at=NOW, made=(), now=NOW + 40 * DAY)
    assert plan.due == occasions[1]
    assert plan.look_at == occasions[2].at


def test_an_occasion_is_due_at_its_very_moment() -> None:
    dedup_key = ReminderDate(NOW + DAY, "1")
    plan = reminder_dates.plan([dedup_key], heard_at=NOW, made=(), now=NOW + DAY)
    assert (plan.due, plan.look_at) == (dedup_key, FAR_FUTURE)


def test_who_heard_since_or_had_that_very_mail_is_left_in_peace() -> None:
    dedup_key = ReminderDate(NOW + DAY, "1")
    later = NOW + 2 * DAY
    assert reminder_dates.plan([dedup_key], heard_at=dedup_key.at, made=(), now=later).due is None
    assert reminder_dates.plan([dedup_key], heard_at=NOW, made={"1"}, now=later).due is None
