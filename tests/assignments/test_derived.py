"""Derived columns follow their causes, set-based, and agree with the rules written in Python."""

import itertools
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from bursary.assignments import dates, derived
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState, State, Status
from bursary.assignments.matching import Verdict
from bursary.assignments.models import CHECK_NOW, LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.lib.moments import FAR_FUTURE
from tests.together import together, until_a_lock_is_waited_for
from tests.world import (
    ALICE,
    BOB,
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

pytestmark = pytest.mark.django_db

SOON, LATER = NOW + timedelta(days=10), NOW + timedelta(days=20)


def test_open_assignments_follow_their_contents_deadline_and_names() -> None:
    content = given_content(enroll_by=LATER)
    assignment = given_assignment(content=content)
    change_content(content, enroll_by=SOON, title="Straße nach Norden", start_date=LATER)
    assignment.refresh_from_db()
    assert (assignment.expires_at, assignment.expires_reason) == (SOON, ExpiryReason.ENROLL_BY)
    assert (assignment.content_enroll_by, assignment.content_start) == (SOON, LATER)
    assert assignment.content_title == "strasse nach norden"


def test_unknown_dates_sort_last_and_long_titles_are_cut() -> None:
    content = given_content(enroll_by=SOON, start_date=SOON)
    assignment = given_assignment(content=content)
    change_content(content, enroll_by=None, start_date=None, title="x" * 600)
    assignment.refresh_from_db()
    assert assignment.content_enroll_by == assignment.content_start == FAR_FUTURE
    assert assignment.expires_reason == ExpiryReason.ALLOCATION_AGE
    assert assignment.content_title == "x" * 255


def test_a_closed_assignments_deadline_stays_what_it_was() -> None:
    content = given_content(enroll_by=LATER)
    assignment = given_assignment(content=content)
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    change_content(content, enroll_by=SOON, title="Renamed")
    assignment.refresh_from_db()
    assert assignment.expires_at == LATER
    assert assignment.content_title == "renamed"


def test_open_assignments_follow_their_budgets_terms() -> None:
    assignment = given_assignment()
    terms.change(assignment.budget, now=NOW, terms={"allocation_age_days": 30})
    assignment.refresh_from_db()
    assert assignment.expires_at == assignment.age_ends_at == NOW + timedelta(days=30)
    terms.change(assignment.budget, now=NOW, terms={"ends_at": SOON})
    assignment.refresh_from_db()
    assert (assignment.expires_at, assignment.expires_reason) == (SOON, ExpiryReason.BUDGET_END)


def test_a_failing_follower_rolls_the_change_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assignment = given_assignment()

    def break_down(*_args: object, **_more: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(dates, "deadline_columns", break_down)
    with pytest.raises(RuntimeError):
        terms.change(assignment.budget, now=NOW, terms={"allocation_age_days": 30})
    assert Budget.objects.get().allocation_age_days == 90


DATES = [None, NOW + timedelta(days=30), NOW + timedelta(days=90)]


def deadlines_by_address() -> dict[str, tuple[object, ...]]:
    rows = LearnerContentAssignment.objects.values_list("learner_email", "expires_at", "expires_reason")
    return {address: tuple(deadline) for address, *deadline in rows}


def test_the_deadline_in_sql_is_the_deadline_in_python() -> None:
    """For each combination of an end of enrolment, an end of the budget and a due date: a learner each."""
    contents = {date: given_content(enroll_by=date) for date in DATES}
    budgets = {date: given_budget(ends_at=date) for date in DATES}
    for number, (enroll_by, ends_at, due_date) in enumerate(itertools.product(DATES, repeat=3)):
        address = f"{number}@learners.example"
        allocate(budgets[ends_at], contents[enroll_by], address, due_date=due_date)
    expected = deadlines_by_address()
    assert len(expected) == 27

    LearnerContentAssignment.objects.update(expires_at=FAR_FUTURE, expires_reason="")
    derived.recompute_for_content(pks=[content.pk for content in contents.values()], now=NOW)
    assert deadlines_by_address() == expected

    LearnerContentAssignment.objects.update(expires_at=FAR_FUTURE, expires_reason="")
    derived.recompute_for_budgets(pks=[budget.pk for budget in budgets.values()], now=NOW)
    assert deadlines_by_address() == expected


def test_many_assignments_follow_in_two_statements() -> None:
    content = given_content()
    allocate(given_budget(), content, *addresses(50))
    with CaptureQueriesContext(connection) as queries:
        derived.recompute_for_content(pks=[content.pk], now=NOW)
    assert (
        len(queries) == 5
    )  # the runs among it, the content, its budgets' locks, then every assignment: twice


def test_only_a_successful_reminder_is_a_recent_action() -> None:
    assignment = given_assignment()
    for dedup_key, status in (("1", Status.DONE), ("2", Status.FAILED)):
        assignment.actions.create(
            action_type=ActionType.REMINDED,
            cycle=1,
            dedup_key=dedup_key,
            status=status,
            error_reason="" if status == Status.DONE else "internal_api_error",
            created=SOON,
            modified=SOON,
            completed_at=SOON if status == Status.DONE else LATER,
        )
    derived.recompute_progress([assignment.pk])
    assignment.refresh_from_db()
    assert assignment.recent_action_at == SOON


def test_a_failed_reminder_leaves_the_learner_waiting() -> None:
    assignment = given_assignment()
    deliver()
    assignment.actions.create(
        action_type=ActionType.REMINDED,
        cycle=1,
        status=Status.FAILED,
        error_reason="internal_api_error",
        created=SOON,
        modified=SOON,
    )
    derived.recompute_progress([assignment.pk])
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.WAITING
    last = assignment.current_failure()
    assert last is not None
    assert last.action_type == ActionType.REMINDED


def test_a_failed_link_shows_as_failed_although_the_mail_went_out() -> None:
    assignment = given_assignment()
    deliver()
    link = action_of(assignment, ActionType.LEARNER_LINKED)
    assignment.actions.filter(pk=link.pk).update(status=Status.FAILED, error_reason="internal_api_error")
    derived.recompute_progress([assignment.pk])
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.FAILED


def test_each_row_of_a_batch_gets_its_own_values() -> None:
    budget = given_budget()
    early, late = given_content(enroll_by=SOON), given_content(enroll_by=LATER)
    first = allocate(budget, early, ALICE).assignments(Verdict.NEW)[0]
    second = allocate(budget, late, BOB).assignments(Verdict.NEW)[0]
    LearnerContentAssignment.objects.update(expires_at=FAR_FUTURE)
    derived.recompute_for_content(pks=[late.pk, early.pk], now=NOW)
    deadlines = dict(LearnerContentAssignment.objects.values_list("pk", "expires_at"))
    assert deadlines == {first.pk: SOON, second.pk: LATER}


@pytest.mark.parametrize("state", [State.ALLOCATED, State.ACCEPTED])
def test_rebuilding_lets_nudges_be_checked_again(state: State) -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(state=state, nudge_at=FAR_FUTURE)
    with transaction.atomic():
        derived.rebuild([assignment.pk], now=NOW)
    assignment.refresh_from_db()
    assert assignment.nudge_at == CHECK_NOW


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_a_budgets_change_and_its_contents_change_at_once_leave_the_true_deadline() -> None:
    """A statement that waits for rows must not go on with the budget's end from before the waiting."""
    content = given_content()
    assignment = given_assignment(content=content)
    waiting = threading.Event()

    def end_the_budget_soon() -> None:
        with transaction.atomic():
            terms.change(assignment.budget, now=NOW, terms={"ends_at": SOON})
            waiting.set()
            until_a_lock_is_waited_for()

    def move_the_content() -> None:
        assert waiting.wait(60)
        change_content(content, enroll_by=LATER)

    assert together([end_the_budget_soon, move_the_content]) == [None, None]
    assignment.refresh_from_db()
    assert (assignment.expires_at, assignment.expires_reason) == (SOON, ExpiryReason.BUDGET_END)
