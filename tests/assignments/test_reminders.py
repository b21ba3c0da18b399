"""Reminding and nudging: by the budget's table, once a date, and as asked for."""

from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from bursary.assignments import actions, redemption, reminders
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.delivery import runner
from bursary.replica.models import ContentMetadata
from bursary.replica.refresh import content_changed
from tests.smtp import MailServer
from tests.together import together
from tests.world import (
    ALICE,
    NOW,
    action_of,
    addresses,
    allocate,
    change_content,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

DAY = timedelta(days=1)


@pytest.fixture
def notified(mail: MailServer) -> LearnerContentAssignment:
    """Return an assignment with a notified learner; it has 90 days, and reminders after 7, 30 and 60."""
    assignment = given_assignment()
    deliver()
    return assignment


def dedup_keys(assignment: LearnerContentAssignment, kind: ActionType = ActionType.REMINDED) -> list[str]:
    rows = assignment.actions.filter(action_type=kind).order_by("pk")
    return list(rows.values_list("dedup_key", flat=True))


def remind(day: int) -> int:
    return reminders.remind_due(now=NOW + day * DAY).done


def remind_and_deliver(day: int) -> int:
    done = remind(day)
    deliver(now=NOW + day * DAY)
    return done


@pytest.mark.on_every_engine
def test_a_learner_without_an_answer_is_reminded_on_the_days_of_the_table(
    notified: LearnerContentAssignment, mail: MailServer
) -> None:
    for day in range(90):
        remind(day)
        deliver(now=NOW + day * DAY)

    deadline = NOW + 90 * DAY
    assert dedup_keys(notified) == [
        "after-7-days",
        "after-30-days",
        "after-60-days",
        f"7-days-before-{deadline:%Y-%m-%dT%H%M}",
        f"1-days-before-{deadline:%Y-%m-%dT%H%M}",
    ]
    assert [sent["Subject"].strip() for sent in mail.received[1:]] == [
        "Reminder: accept or decline “Tidal Engines”"
    ] * 5
    notified.refresh_from_db()
    assert notified.recent_action_at == NOW + 89 * DAY
    assert notified.learner_state == LearnerState.WAITING


def test_a_moment_early_no_learner_is_reminded(notified: LearnerContentAssignment) -> None:
    almost = NOW + 7 * DAY - timedelta(microseconds=1)
    assert reminders.remind_due(now=almost).done == 0
    assert reminders.remind_due(now=NOW + 7 * DAY).done == 1


@pytest.mark.on_every_engine
def test_missed_days_are_caught_up_by_one_mail_and_a_date_never_makes_two(
    notified: LearnerContentAssignment,
) -> None:
    assert remind_and_deliver(45) == 1
    assert dedup_keys(notified) == ["after-30-days"]
    assert [remind(45), remind(46), remind(59)] == [0, 0, 0]
    assert remind(60) == 1


def test_a_learner_is_not_reminded_until_a_day_after_being_notified(mail: MailServer) -> None:
    assignment = given_assignment()
    mail.go()
    deliver()
    assert remind(8) == 0
    mail.come()
    deliver(now=NOW + 9 * DAY)
    assert remind(9) == 0  # notified today: the seventh day is covered
    assert remind(30) == 1
    assert dedup_keys(assignment) == ["after-30-days"]


def test_a_learner_that_could_not_be_notified_is_not_reminded_by_the_sweep(mail: MailServer) -> None:
    mail.refuses.add(ALICE)
    given_assignment()
    deliver()
    assert remind(30) == 0


@pytest.mark.parametrize("state", [State.ACCEPTED, State.CANCELLED, State.EXPIRED, State.REVERSED])
def test_no_learner_is_reminded_of_what_is_not_open(notified: LearnerContentAssignment, state: State) -> None:
    LearnerContentAssignment.objects.update(state=state)
    assert remind(30) == 0


def test_an_assignment_being_redeemed_is_not_reminded_of_meanwhile(
    notified: LearnerContentAssignment,
) -> None:
    redemption.begin(notified, now=NOW + DAY)
    assert remind(30) == 0
    LearnerContentAssignment.objects.update(redeeming_since=None)
    assert remind(30) == 1


def test_a_reminder_by_hand_covers_the_dates_before_it(notified: LearnerContentAssignment) -> None:
    reminders.remind(notified.budget, uuids=[notified.uuid], now=NOW + 31 * DAY)
    deliver(now=NOW + 31 * DAY)
    assert remind(31) == 0
    assert remind(60) == 1


@pytest.mark.on_every_engine
def test_a_table_that_changes_counts_at_once(notified: LearnerContentAssignment) -> None:
    terms.change(notified.budget, now=NOW + DAY, terms={"remind_days_after": "3", "remind_days_before": ""})
    assert [remind(2), remind(3), remind(80)] == [0, 1, 0]


@pytest.mark.on_every_engine
def test_a_deadline_that_moves_moves_its_reminders(notified: LearnerContentAssignment) -> None:
    content = notified.content
    assert content is not None
    change_content(content, now=NOW + DAY, enroll_by=NOW + 12 * DAY)
    assert remind_and_deliver(5) == 1  # seven days before the new one
    assert remind_and_deliver(6) == 0
    assert remind_and_deliver(7) == 1
    assert remind_and_deliver(11) == 1
    assert remind_and_deliver(12) == 0


def test_a_second_cycle_is_reminded_anew(notified: LearnerContentAssignment) -> None:
    assert remind(7) == 1
    LearnerContentAssignment.objects.update(state=State.CANCELLED)
    assert notified.content is not None
    allocate(notified.budget, notified.content, ALICE, now=NOW + 10 * DAY)
    deliver(now=NOW + 10 * DAY)
    assert [remind(16), remind(17)] == [0, 1]
    assert dedup_keys(notified) == ["after-7-days"] * 2


def test_a_reminder_that_waited_past_the_deadline_is_not_sent(
    notified: LearnerContentAssignment, mail: MailServer
) -> None:
    remind(60)
    deliver(now=NOW + 90 * DAY)
    assert action_of(notified, ActionType.REMINDED).error_code == "deadline_passed"
    assert len(mail.received) == 1


def test_a_reminder_that_fails_changes_nothing_but_the_timeline(
    notified: LearnerContentAssignment, mail: MailServer
) -> None:
    mail.refuses.add(ALICE)
    remind(7)
    deliver(now=NOW + 7 * DAY)
    notified.refresh_from_db()
    assert action_of(notified, ActionType.REMINDED).status == Status.FAILED
    assert (notified.state, notified.learner_state) == (State.ALLOCATED, LearnerState.WAITING)
    assert notified.recent_action_at == NOW
    assert remind(8) == 0


def test_a_sweep_takes_as_many_queries_for_many_as_for_few(mail: MailServer) -> None:
    counts = []
    for count in (2, 12):
        allocate(given_budget(), given_content(), *addresses(count))
        deliver()
        with CaptureQueriesContext(connection) as queries:
            assert remind(7) == count
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_sweeps_at_the_same_moment_remind_once(mail: MailServer) -> None:
    allocate(given_budget(), given_content(), *addresses(20))
    deliver()
    done = together([lambda: remind(7)] * 4)
    assert [one for one in done if isinstance(one, Exception)] == []
    assert sum(one for one in done if isinstance(one, int)) == 20


def moves_enrolment(content: ContentMetadata, *, to: datetime | None, now: datetime) -> None:
    change_content(content, now=now, enroll_by=to)


def test_a_reminder_that_a_mistaken_deadline_kept_back_comes_when_it_is_mended(mail: MailServer) -> None:
    content = given_content(enroll_by=NOW + 20 * DAY)
    assignment = given_assignment(given_budget(remind_days_after="", remind_days_before="7"), content)
    deliver()
    assert remind(13) == 1
    moves_enrolment(content, to=NOW + DAY, now=NOW + 13 * DAY)
    deliver(now=NOW + 13 * DAY)
    assert action_of(assignment, ActionType.REMINDED).status == Status.SKIPPED
    moves_enrolment(content, to=NOW + 20 * DAY, now=NOW + 14 * DAY)
    assert remind(14) == 1
    deliver(now=NOW + 14 * DAY)
    assert action_of(assignment, ActionType.REMINDED).status == Status.DONE
    assert action_of(assignment, ActionType.REMINDED).dedup_key.endswith("-again-1")


def test_what_piles_up_while_nothing_is_delivered_is_one_mail(
    notified: LearnerContentAssignment, mail: MailServer
) -> None:
    assert [remind(day) for day in (7, 30, 60)] == [1, 0, 0]
    deliver(now=NOW + 61 * DAY)
    assert len(mail.received) == 2


def test_no_reminder_names_a_deadline_that_has_passed(mail: MailServer) -> None:
    content = given_content(enroll_by=NOW + 20 * DAY, start_date=NOW + 25 * DAY)
    assignment = given_assignment(content=content)
    moves_enrolment(content, to=NOW - DAY, now=NOW)
    deliver()
    assert nudge(18) == 0
    outcome = reminders.nudge(assignment.budget, uuids=[assignment.uuid], now=NOW)
    assert outcome.refused == {assignment.uuid: "past its deadline"}
    assert mail.received == []
    # It was a mistake, and is mended: now the learner is notified.
    moves_enrolment(content, to=NOW + 20 * DAY, now=NOW + DAY)
    deliver(now=NOW + DAY)
    assert len(mail.received) == 1


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_sweeps_and_content_changes_at_the_same_moment_wait_for_each_other(mail: MailServer) -> None:
    content, budget = given_content(start_date=NOW + 30 * DAY), given_budget()
    allocate(budget, content, *addresses(300))
    LearnerContentAssignment.objects.update(learner_state=LearnerState.WAITING)
    for shuffled in LearnerContentAssignment.objects.order_by("?")[:150]:
        shuffled.save()  # PostgreSQL writes it anew: rows lie in another order than their keys

    def change(round_: int) -> None:
        moves_enrolment(content, to=NOW + (40 + round_) * DAY, now=NOW + DAY)

    calls = [partial(change, round_) for round_ in range(3)] + [partial(remind, 8), partial(nudge, 24)] * 2
    assert [one for one in together(calls) if isinstance(one, Exception)] == []


def test_asked_for_twice_in_a_row_one_mail_goes_out(notified: LearnerContentAssignment) -> None:
    first = reminders.remind(notified.budget, uuids=[notified.uuid], now=NOW + DAY)
    second = reminders.remind(notified.budget, uuids=[notified.uuid], now=NOW + DAY)
    assert (first.requested, second.requested, second.on_their_way) == ([notified.uuid], [], [notified.uuid])
    deliver(now=NOW + DAY)
    assert reminders.remind(notified.budget, uuids=[notified.uuid], now=NOW + 2 * DAY).requested == [
        notified.uuid
    ]


@pytest.mark.on_every_engine
def test_all_waiting_learners_are_reminded_and_no_others(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    mail.refuses.add("learner-0@learners.example")
    allocate(budget, content, *addresses(5))
    deliver()
    allocate(budget, content, "learner-9@learners.example", now=NOW + DAY)
    everything = list(budget.assignments.values_list("uuid", flat=True))
    outcome = reminders.remind_waiting(budget, uuids=everything, now=NOW + DAY)
    assert len(outcome.requested) == 4
    assert outcome.refused == {}


# -- Nudges -------------------------------------------------------------------------------------------------


def starting(at: datetime) -> LearnerContentAssignment:
    assignment = given_assignment(content=given_content(start_date=at))
    deliver()
    return assignment


def nudge(day: int) -> int:
    return reminders.nudge_due(now=NOW + day * DAY).done


@pytest.mark.on_every_engine
def test_learners_are_nudged_before_the_start_whether_or_not_they_accepted(mail: MailServer) -> None:
    start = NOW + 40 * DAY
    assignment = starting(start)
    assert [nudge(day) for day in (32, 33, 34)] == [0, 1, 0]
    deliver(now=NOW + 33 * DAY)
    assert mail.received[-1]["Subject"].strip() == "“Tidal Engines” starts on Saturday, 11 April 2026"
    assert "You have not accepted it yet" in mail.received[-1].get_body().get_content()  # type: ignore[union-attr]  # it has one

    redemption.begin(assignment, now=NOW + 34 * DAY)
    runner.drain(clock=lambda: NOW + 34 * DAY, limit=1)
    assert [nudge(day) for day in (38, 39, 40)] == [0, 1, 0]
    deliver(now=NOW + 39 * DAY)
    assert "You have accepted it" in mail.received[-1].get_body().get_content()  # type: ignore[union-attr]  # it has one
    assert len(dedup_keys(assignment, ActionType.NUDGED)) == 2


def test_a_learner_accepting_before_being_notified_is_nudged_nevertheless(mail: MailServer) -> None:
    mail.refuses.add(ALICE)
    assignment = starting(NOW + 30 * DAY)
    assert nudge(23) == 0
    mail.refuses.clear()
    redemption.begin(assignment, now=NOW + 24 * DAY)
    deliver(now=NOW + 24 * DAY)
    assert nudge(24) == 1


def test_a_missed_nudge_is_caught_up_until_the_start_and_not_after(mail: MailServer) -> None:
    starting(NOW + 40 * DAY)
    starting(NOW + 30 * DAY)
    assert nudge(36) == 1


def test_a_start_that_moves_makes_a_new_dedup_key(mail: MailServer) -> None:
    assignment = starting(NOW + 40 * DAY)
    assert nudge(33) == 1
    deliver(now=NOW + 33 * DAY)
    content = assignment.content
    assert content is not None
    change_content(content, now=NOW + 34 * DAY, start_date=NOW + 60 * DAY)
    assert [nudge(39), nudge(53)] == [0, 1]


def given_accepted_and_planned() -> LearnerContentAssignment:
    """Return an accepted assignment that starts in 60 days and was checked: its next nudge is in 53."""
    assignment = starting(NOW + 60 * DAY)
    redemption.fulfil(redemption.begin(assignment, now=NOW), now=NOW)
    assert nudge(1) == 0
    assignment.refresh_from_db()
    assert (assignment.state, assignment.nudge_at) == (State.ACCEPTED, NOW + 53 * DAY)
    return assignment


def test_an_accepted_one_is_nudged_by_the_new_date_when_its_start_comes_nearer(mail: MailServer) -> None:
    content = given_accepted_and_planned().content
    with transaction.atomic():
        ContentMetadata.objects.update(start_date=NOW + 20 * DAY)
        content_changed.send(sender=ContentMetadata, pks=[content and content.pk], now=NOW + DAY)
    assert nudge(13) == 1


def test_an_accepted_one_is_nudged_by_a_table_that_changed(mail: MailServer) -> None:
    assignment = given_accepted_and_planned()
    terms.change(assignment.budget, now=NOW + DAY, terms={"nudge_days_before": "30"})
    assert nudge(30) == 1


def test_a_nudge_that_waited_past_the_start_is_not_sent(mail: MailServer) -> None:
    assignment = starting(NOW + 40 * DAY)
    nudge(39)
    deliver(now=NOW + 41 * DAY)
    assert action_of(assignment, ActionType.NUDGED).error_code == "started"


def test_nudging_by_hand_says_what_came_of_each(mail: MailServer) -> None:
    budget = given_budget()
    soon, far, unknown = (
        given_assignment(budget, given_content(start_date=start))
        for start in (NOW + 5 * DAY, NOW + 50 * DAY, None)
    )
    uuids = [soon.uuid, far.uuid, unknown.uuid]
    outcome = reminders.nudge(budget, uuids=uuids, now=NOW, within_days=14)
    assert outcome.requested == [soon.uuid]
    assert outcome.refused == {far.uuid: "not starting soon", unknown.uuid: "without a start"}


def test_cancelling_takes_reminders_and_nudges_back(notified: LearnerContentAssignment) -> None:
    remind(7)
    actions.request([notified], [ActionType.NUDGED], now=NOW + 7 * DAY)
    LearnerContentAssignment.objects.update(state=State.CANCELLED)
    deliver(now=NOW + 7 * DAY)
    assert action_of(notified, ActionType.REMINDED).status == Status.SUPERSEDED
    assert action_of(notified, ActionType.NUDGED).status == Status.SUPERSEDED
