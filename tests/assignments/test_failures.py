"""Failed work: what there is of it, and its repair by a retry or by skipping it."""

from collections import Counter
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db.models import Q
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import Role
from bursary.assignments import (
    actions,
    address_corrections,
    cancellation,
    derived_audit,
    failures,
    failures_by_code,
    reminders,
    shown_assignments,
)
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.failures import RepairRefusal
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import Budget
from tests.world import (
    ALICE,
    BOB,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

MADRID = ZoneInfo("Europe/Madrid")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def fail(
    assignment: LearnerContentAssignment,
    kind: ActionType = ActionType.NOTIFIED,
    *,
    error_code: str = "address_rejected",
    reason: ErrorReason = ErrorReason.EMAIL_ERROR,
    now: object = NOW,
) -> LearnerContentAssignmentAction:
    """Let the assignment's newest work of a type fail for good; return it."""
    action = action_of(assignment, kind)
    (claimed,) = actions.claim(now=action.created, lease=HOUR, limit=1, pks=[action.pk])
    assert actions.finish(claimed, Failed(Failure(reason, error_code, "No such mailbox.", "Trace")), now=now)  # type: ignore[arg-type]  # an instant
    return action


def given_failure(
    budget: Budget | None = None, *, address: str = ALICE, **how: object
) -> LearnerContentAssignment:
    assignment = given_assignment(budget or given_budget(), given_content(), address=address)
    fail(assignment, **how)  # type: ignore[arg-type]  # as `fail` takes them
    return assignment


def stored(assignment: LearnerContentAssignment) -> LearnerContentAssignment:
    return LearnerContentAssignment.objects.get(pk=assignment.pk)


@pytest.mark.on_every_engine
def test_failures_are_counted_by_budget_error_code_and_day_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    budget, other = given_budget(), given_budget()
    given_failure(budget, now=NOW)
    given_failure(budget, address=BOB, now=NOW - DAY)
    given_failure(other, error_code="message_refused", reason=ErrorReason.INTERNAL_API_ERROR)
    given_failure(given_budget())  # not asked for

    with django_assert_num_queries(1):
        found = failures.counts([budget, other], zone=MADRID, now=NOW)

    assert {(one.budget, one.error_code, one.day, one.count) for one in found} == {
        (budget, "address_rejected", date(2026, 3, 2), 1),
        (budget, "address_rejected", date(2026, 3, 1), 1),
        (other, "message_refused", date(2026, 3, 2), 1),
    }
    assert failures_by_code.in_budgets([budget, other]) == {"address_rejected": 2, "message_refused": 1}


@pytest.mark.on_every_engine
def test_a_day_is_that_of_the_zone_asked_for_and_old_failures_are_counted_together() -> None:
    budget = given_budget()
    late_on_the_first = NOW.replace(day=1, hour=23, minute=30)  # in Madrid it is the second
    given_failure(budget, now=late_on_the_first)
    given_failure(budget, address=BOB, now=NOW - failures.DAYS_APART * DAY)

    days = [one.day for one in failures.counts([budget], zone=MADRID, now=NOW)]

    assert days == [date(2026, 3, 2), None]


@pytest.mark.on_every_engine
def test_what_was_retried_or_does_not_fit_any_more_is_not_counted() -> None:
    budget = given_budget()
    retried, cancelled = given_failure(budget), given_failure(budget, address=BOB)
    actions.retry(action_of(retried, ActionType.NOTIFIED), now=NOW)
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=NOW)

    assert failures_by_code.in_budgets([budget]) == {}


@pytest.mark.on_every_engine
def test_of_several_failed_reminders_the_last_one_counts_and_is_retried() -> None:
    assignment = given_assignment()
    deliver()
    for hours in (1, 2):
        at = NOW - 3 * HOUR + hours * HOUR
        actions.request([assignment], [ActionType.REMINDED], now=at, dedup_key=f"asked-{hours}")
        fail(assignment, ActionType.REMINDED)

    done = failures.retry(assignment.budget, uuids=[assignment.uuid], now=NOW)

    assert done.repaired == [assignment.uuid]
    again = assignment.actions.get(status=Status.PENDING)
    assert (again.action_type, again.retry_of and again.retry_of.dedup_key) == ("reminded", "asked-2")
    assert failures_by_code.in_budgets([assignment.budget]) == {}


def test_a_retry_is_a_new_action_of_the_administrator_that_points_to_the_failed_one() -> None:
    assignment = given_failure()
    ada = given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer)

    done = failures.retry(assignment.budget, uuids=[assignment.uuid], now=NOW, actor=ada)

    assert (done.repaired, done.refused) == ([assignment.uuid], {})
    failed, again = assignment.actions.filter(action_type=ActionType.NOTIFIED).order_by("pk")
    assert (failed.status, failed.error_code) == (Status.FAILED, "address_rejected")
    assert (again.retry_of, again.status, again.actor, again.due_at) == (failed, Status.PENDING, ada, NOW)
    assert stored(assignment).learner_state == LearnerState.NOTIFYING


def test_a_retry_goes_to_the_corrected_address() -> None:
    assignment = given_failure()
    address_corrections.correct_assignment(assignment, address=BOB, now=NOW)
    fail(assignment)

    failures.retry(assignment.budget, uuids=[assignment.uuid], now=NOW)

    assert action_of(assignment, ActionType.NOTIFIED).recipient == BOB


@pytest.mark.on_every_engine
def test_only_the_named_type_or_error_code_is_retried() -> None:
    assignment = given_failure()
    actions.request([assignment], [ActionType.REMINDED], now=NOW)
    fail(assignment, ActionType.REMINDED, error_code="unexpected_error")

    done = failures.retry(
        assignment.budget, uuids=[assignment.uuid], which=Q(error_code="unexpected_error"), now=NOW
    )

    assert done.repaired == [assignment.uuid]
    assert failures_by_code.in_budgets([assignment.budget]) == {"address_rejected": 1}


@pytest.mark.on_every_engine
def test_the_refusals_that_are_expected_are_those_of_the_repair() -> None:
    budget, late = given_budget(), NOW + 90 * DAY
    given_assignment(budget, address="all-is-well@people.example")
    reminded, redeeming = given_assignment(budget), given_assignment(budget, address=BOB)
    mail_and_reminder = given_assignment(budget, given_content(), address="both@people.example")
    fail(mail_and_reminder)
    for one in (mail_and_reminder, reminded):
        actions.request([one], [ActionType.REMINDED], now=NOW)
        fail(one, ActionType.REMINDED)
    actions.request([redeeming], [ActionType.REDEEMED], now=NOW)
    fail(redeeming, ActionType.REDEEMED, error_code="ledger_refused", reason=ErrorReason.ENROLLMENT_ERROR)
    rows = LearnerContentAssignment.objects.filter(budget=budget)
    uuids = [one.uuid for one in rows]
    by_skipping = failures.expected_refusals(rows)
    by_retrying = failures.expected_refusals(rows, late=failures.too_late(late))
    which = Q(action_type=ActionType.REMINDED)
    of_reminders = failures.expected_refusals(rows, late=failures.too_late(late), which=which)

    assert of_reminders == {RepairRefusal.TOO_LATE: 2, RepairRefusal.NOTHING_FAILED: 2}
    refused = failures.retry(budget, uuids=uuids, which=which, now=late).refused
    assert of_reminders == Counter(refused.values())
    retried = failures.retry(budget, uuids=uuids, now=late)
    assert by_retrying == Counter(retried.refused.values())
    assert by_retrying == {
        RepairRefusal.TOO_LATE: 1,
        RepairRefusal.ONLY_BY_LEARNER: 1,
        RepairRefusal.NOTHING_FAILED: 1,
    }
    assert by_skipping == {RepairRefusal.ONLY_BY_LEARNER: 1, RepairRefusal.NOTHING_FAILED: 1}
    assert failures.expected_refusals(rows.filter(pk=reminded.pk)) == {}


@pytest.mark.on_every_engine
def test_what_cannot_be_retried_is_named_with_the_reason() -> None:
    budget = given_budget()
    well = given_assignment(budget)
    redeeming = given_assignment(budget, address=BOB)
    actions.request([redeeming], [ActionType.REDEEMED], now=NOW)
    fail(redeeming, ActionType.REDEEMED, error_code="ledger_refused", reason=ErrorReason.ENROLLMENT_ERROR)
    foreign = given_failure()

    done = failures.retry(budget, uuids=[well.uuid, redeeming.uuid, foreign.uuid], now=NOW)

    assert done.repaired == []
    assert done.refused == {
        well.uuid: RepairRefusal.NOTHING_FAILED,
        redeeming.uuid: RepairRefusal.ONLY_BY_LEARNER,
        foreign.uuid: "unknown",
    }


def test_a_mail_that_would_be_skipped_is_not_retried() -> None:
    budget, content = given_budget(), given_content(start_date=NOW + 20 * DAY)
    nudged = given_assignment(budget, content)
    deliver()
    reminders.nudge(budget, uuids=[nudged.uuid], within_days=None, now=NOW + DAY)
    fail(nudged, ActionType.NUDGED, now=NOW + DAY)

    late = failures.retry(budget, uuids=[nudged.uuid], now=NOW + 20 * DAY)
    assert (late.repaired, late.refused) == ([], {nudged.uuid: RepairRefusal.TOO_LATE})
    assert failures.retry(budget, uuids=[nudged.uuid], now=NOW + 19 * DAY).repaired == [nudged.uuid]


def test_a_reminder_past_the_deadline_is_not_retried_but_skipped() -> None:
    reminded = given_assignment()
    deliver()
    reminders.remind(reminded.budget, uuids=[reminded.uuid], now=NOW + DAY)
    fail(reminded, ActionType.REMINDED, now=NOW + DAY)
    budget, named, late = reminded.budget, [reminded.uuid], NOW + 90 * DAY

    assert failures.retry(budget, uuids=named, now=late).refused == {reminded.uuid: RepairRefusal.TOO_LATE}
    assert failures.skip(budget, uuids=named, reason="Too late.", now=late).repaired == named


@pytest.mark.parametrize("resolved_by", ["skipped", "sent"])
def test_an_earlier_failure_of_the_same_work_is_not_shown_any_more_either(resolved_by: str) -> None:
    reminded = given_assignment()
    deliver()
    budget, named = reminded.budget, [reminded.uuid]
    for day in (1, 2):
        reminders.remind(budget, uuids=named, now=NOW + day * DAY)
        fail(reminded, ActionType.REMINDED, now=NOW + day * DAY)
    failed = stored(reminded).current_failure()
    assert failed is not None
    assert failed.created == NOW + 2 * DAY

    if resolved_by == "skipped":
        failures.skip(budget, uuids=named, reason="Was called.", now=NOW + 3 * DAY)
    else:
        reminders.remind(budget, uuids=named, now=NOW + 3 * DAY)

    assert stored(reminded).current_failure() is None
    assert shown_assignments.load_all([reminded.pk], now=NOW + 3 * DAY)[0].current_failure() is None
    assert failures_by_code.in_budgets([budget]) == {}


def test_retrying_many_takes_as_many_queries_as_retrying_one(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, *(f"learner-{number}@learners.example" for number in range(5)))
    rows = LearnerContentAssignment.objects.all()
    for one in rows:
        fail(one)
    first, *others = rows

    with django_assert_num_queries(9):
        failures.retry(budget, uuids=[first.uuid], now=NOW)
    with django_assert_num_queries(9):
        failures.retry(budget, uuids=[one.uuid for one in others], now=NOW)


def test_skipping_keeps_the_reason_and_the_actor_and_the_failure() -> None:
    assignment = given_failure()
    ada = given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer)

    failures.skip(assignment.budget, uuids=[assignment.uuid], reason="Was called.", now=NOW, actor=ada)

    failed, skipped = assignment.actions.filter(action_type=ActionType.NOTIFIED).order_by("pk")
    assert failed.status == Status.FAILED
    assert (skipped.status, skipped.retry_of, skipped.actor) == (Status.SKIPPED, failed, ada)
    assert (skipped.error_code, skipped.detail) == ("skipped_on_request", "Was called.")
    assert (skipped.completed_at, skipped.due_at) == (NOW, None)
    assert failures_by_code.in_budgets([assignment.budget]) == {}
    assert stored(assignment).learner_state == LearnerState.FAILED  # not notified
    assert derived_audit.audit(clock=lambda: NOW).wrong == 0


@pytest.mark.parametrize("skipped", [False, True])
def test_allocating_again_notifies_again_if_the_mail_did_not_go_out(skipped: bool) -> None:
    assignment = given_failure(given_budget(seats=1))
    budget = assignment.budget
    if skipped:
        failures.skip(budget, uuids=[assignment.uuid], reason="Later.", now=NOW)

    assert assignment.content
    ada = given_user()
    done = allocate(budget, assignment.content, ALICE, now=NOW + HOUR, actor=ada)

    assert [one.verdict for one in done.matches] == [Verdict.NOTIFIED_AGAIN]
    assert action_of(assignment, ActionType.NOTIFIED).actor == ada
    assert stored(assignment).modified == NOW + HOUR
    assert timeline(assignment)[-1] == ("notified", "pending")
    assert stored(assignment).allocation_batch_uuid == done.batch.uuid
    assert Budget.objects.get(pk=budget.pk).reserved_cents == assignment.price_cents
    again = allocate(budget, assignment.content, ALICE, now=NOW + 2 * HOUR)
    assert [one.verdict for one in again.matches] == [Verdict.ALREADY_ASSIGNED]
    deliver(now=NOW + 3 * HOUR)
    assert stored(assignment).learner_state == LearnerState.WAITING


def test_allocating_again_notifies_no_learner_of_an_assignment_past_its_deadline() -> None:
    assignment = given_failure()
    assert assignment.content
    done = allocate(assignment.budget, assignment.content, ALICE, now=NOW + 91 * DAY)
    assert [one.verdict for one in done.matches] == [Verdict.ALREADY_ASSIGNED]
