"""The steps of an assignment in order, with what was waited for between them."""

from datetime import datetime, timedelta

import pytest

from bursary.assignments import cancellation, declining, expiry, extension, listing, reminders
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard import life_steps
from bursary.dashboard.life_steps import FIRST_STEPS, MAX_STEPS, LifeSteps
from tests import world
from tests.world import NOW

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def steps_of(row: LearnerContentAssignment, *, now: datetime) -> LifeSteps:
    (loaded,) = listing.with_timelines([row.pk], now=now, with_join_by=False)
    return life_steps.steps_of(loaded, now=now)


def labels(shown: LifeSteps) -> list[str]:
    return [step.label for step in shown.steps]


def notified(*, address: str = world.ALICE) -> LearnerContentAssignment:
    row = world.given_assignment(world.given_budget(), address=address)
    world.deliver()
    return row


def remind(row: LearnerContentAssignment, *, after: timedelta) -> None:
    reminders.remind(row.budget, uuids=[row.uuid], now=NOW + after)
    world.deliver(now=NOW + after)


def test_an_open_assignment_leads_from_its_allocation_by_today_to_its_deadline() -> None:
    row = notified()
    remind(row, after=9 * DAY)

    shown = steps_of(row, now=NOW + 30 * DAY)

    assert labels(shown) == ["Assigned", "Notified", "Reminded", "Today", "Deadline"]
    assert [step.wait.replace("\xa0", " ") for step in shown.steps] == [
        *("", "at once", "9 days later", "21 days later", "in 60 days"),
    ]
    assert [step.line for step in shown.steps] == ["notifying", "waiting", "waiting", "future", ""]


def test_a_failure_is_a_step_with_its_cause_and_nothing_is_waited_for_after_it() -> None:
    row = notified(address="alice@nowhere.invalid")

    shown = steps_of(row, now=NOW + 10 * DAY)

    failed = shown.steps[1]
    assert (failed.label, failed.kind, failed.note) == (
        *("Notifying failed", "failed"),
        "The address does not exist.",
    )
    assert "waiting" not in [step.line for step in shown.steps]
    assert failed.wait == "at once"


def test_of_many_steps_the_first_and_the_last_are_drawn_in_their_order() -> None:
    row = notified()
    for number in range(1, 30):
        remind(row, after=number * timedelta(minutes=11))

    shown = steps_of(row, now=NOW + DAY)

    latest = range(30 - (MAX_STEPS - FIRST_STEPS), 30)
    assert [step.at - NOW for step in shown.steps[FIRST_STEPS:-2]] == [
        n * timedelta(minutes=11) for n in latest
    ]
    assert labels(shown)[:FIRST_STEPS] == ["Assigned", "Notified", "Reminded"]
    assert labels(shown)[-2:] == ["Today", "Deadline"]
    assert shown.more == 31 - MAX_STEPS


def test_each_end_is_the_last_step() -> None:
    cancelled, declined, expired = notified(), notified(), notified()
    cancellation.cancel(cancelled.budget, uuids=[cancelled.uuid], now=NOW + DAY)
    declining.decline(declined, reason="", now=NOW + DAY)
    expiry.expire_due(now=NOW + 91 * DAY)

    assert labels(steps_of(cancelled, now=NOW + 2 * DAY))[-1] == "Cancelled"
    assert labels(steps_of(declined, now=NOW + 2 * DAY))[-1] == "Declined"
    assert labels(steps_of(expired, now=NOW + 92 * DAY)) == ["Assigned", "Notified", "Expired"]


def test_a_refund_follows_the_acceptance() -> None:
    row = notified()
    columns = {"state": "reversed", "accepted_at": NOW + DAY, "reversed_at": NOW + 3 * DAY}
    LearnerContentAssignment.objects.filter(pk=row.pk).update(**columns)

    shown = steps_of(row, now=NOW + 5 * DAY)

    assert labels(shown)[2:] == ["Accepted", "Refunded"]
    assert [step.line for step in shown.steps] == ["notifying", "waiting", "past", ""]


def test_only_the_present_allocation_is_drawn_and_an_extension_is_a_step_of_it() -> None:
    row = notified()
    cancellation.cancel(row.budget, uuids=[row.uuid], now=NOW + DAY)
    assert row.content is not None
    world.allocate(row.budget, row.content, world.ALICE, now=NOW + 2 * DAY)
    extension.extend(row.budget, uuids=[row.uuid], until=NOW + 200 * DAY, now=NOW + 3 * DAY)

    shown = steps_of(row, now=NOW + 4 * DAY)

    assert labels(shown) == ["Assigned", "Deadline extended", "Today", "Deadline"]
    assert shown.steps[-1].at == NOW + 200 * DAY


def test_a_deadline_that_has_passed_stands_before_today() -> None:
    row = notified()

    assert labels(steps_of(row, now=NOW + 95 * DAY))[-2:] == ["Deadline passed", "Today"]


def test_what_began_and_ended_on_one_day_is_said_to_be_so() -> None:
    row = notified()
    cancellation.cancel(row.budget, uuids=[row.uuid], now=NOW + timedelta(hours=3))

    assert steps_of(row, now=NOW + DAY).on_one_day
    assert not steps_of(notified(), now=NOW).on_one_day


def test_within_a_second_a_cause_stands_before_its_effect() -> None:
    row = notified()
    late, early = NOW + DAY + timedelta(microseconds=900), NOW + DAY
    cancellation.cancel(row.budget, uuids=[row.uuid], now=late)
    mail = row.actions.filter(action_type=ActionType.CANCELLATION_NOTIFIED)
    world.deliver(now=late)
    mail.update(status=Status.FAILED, completed_at=early, error_reason=ErrorReason.EMAIL_ERROR)

    assert labels(steps_of(row, now=NOW + 2 * DAY))[-2:] == [
        "Cancelled",
        "Mail about the cancellation failed",
    ]
