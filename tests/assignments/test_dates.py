"""When an assignment ends; its reminder dates: which there are, which are due, and when to check next."""

from datetime import timedelta

from bursary.assignments import dates
from bursary.assignments.dates import MailDate
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.lib.moments import FAR_FUTURE
from tests.world import NOW

DAY = timedelta(days=1)
EXPIRES = NOW + 90 * DAY


def test_an_assignment_ends_with_its_budget_and_by_an_extension_in_place_of_its_own_dates() -> None:
    age, due, extended = NOW + 9 * DAY, NOW + 5 * DAY, NOW + 20 * DAY
    for more, ends_at, expected in (
        ({}, None, age),
        ({"due_date": due}, None, due),
        ({"due_date": due, "extended_until": extended}, None, extended),
        ({"due_date": due, "extended_until": extended}, NOW + 10 * DAY, NOW + 10 * DAY),
        ({"due_date": due}, NOW + 10 * DAY, due),
    ):
        assignment = LearnerContentAssignment(budget=Budget(ends_at=ends_at), **more)
        assert dates.deadline_without_enroll_by(assignment, age_ends_at=age) == expected


def tables(*, after: str = "", before: str = "", nudge: str = "") -> Budget:
    return Budget(remind_days_after=after, remind_days_before=before, nudge_days_before=nudge)


def days_of(found: list[MailDate]) -> list[int]:
    return [(one.at - NOW).days for one in found]


def test_reminders_come_days_after_the_allocation_and_days_before_the_deadline() -> None:
    budget = tables(after="7, 30", before="1,7")
    assert days_of(dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES)) == [7, 30, 83, 89]


def test_no_reminder_comes_at_the_deadline_or_after_it() -> None:
    budget = tables(after="7,30,90,120")
    assert days_of(dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES)) == [7, 30]


def test_without_a_table_and_without_a_date_there_are_none() -> None:
    assert dates.reminders(tables(), allocated_at=NOW, expires_at=EXPIRES) == []
    assert dates.nudges(tables(nudge="7"), starts_at=FAR_FUTURE) == []


def test_a_deadline_that_moves_makes_another_date() -> None:
    budget = tables(before="7")
    (first,) = dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES)
    (second,) = dates.reminders(budget, allocated_at=NOW, expires_at=EXPIRES + DAY)
    assert first.name != second.name


def test_the_latest_of_several_missed_dates_is_due_and_the_next_is_checked_next() -> None:
    three = [MailDate(NOW + days * DAY, str(days)) for days in (7, 30, 60)]
    plan = dates.plan(three, last_contact=NOW, used=(), now=NOW + 40 * DAY)
    assert plan.due == three[1]
    assert plan.next_check == three[2].at


def test_a_date_is_due_at_its_very_instant() -> None:
    date = MailDate(NOW + DAY, "1")
    plan = dates.plan([date], last_contact=NOW, used=(), now=NOW + DAY)
    assert (plan.due, plan.next_check) == (date, FAR_FUTURE)


def test_a_learner_written_to_since_or_sent_that_very_mail_is_not_written_to() -> None:
    date = MailDate(NOW + DAY, "1")
    later = NOW + 2 * DAY
    assert dates.plan([date], last_contact=date.at, used=(), now=later).due is None
    assert dates.plan([date], last_contact=NOW, used={"1"}, now=later).due is None
