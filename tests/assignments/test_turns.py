"""Turns: the work of a request for many is due a second apart, and may be sooner; for one it is due now."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from bursary.assignments import (
    actions,
    address_corrections,
    allocation,
    cancellation,
    expiry,
    failures,
    reminders,
    sweeps,
)
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import Budget
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)
IN_TURN = [(ALICE, 0, 0), (BOB, 1, 1), (CAROL, 2, 1)]


def waiting(kind: ActionType, *, since: object = LATER) -> list[tuple[str, int, int | None]]:
    """Return the recipients of pending work, its seconds after the request, and whether it may be sooner."""
    rows = LearnerContentAssignmentAction.objects.filter(action_type=kind, status=Status.PENDING)
    return [
        (one.recipient, int((one.due_at - since).total_seconds()), one.early)  # type: ignore[operator]  # it is due
        for one in rows.order_by("due_at", "pk")
    ]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is done in batches be done in batches of two."""
    monkeypatch.setattr(sweeps, "BATCH", 2)
    monkeypatch.setattr(failures, "ROWS_PER_STATEMENT", 2)


@pytest.fixture
def budget() -> Budget:
    """A budget with three learners, notified a day ago."""
    budget = given_budget()
    allocate(budget, given_content(), ALICE, BOB, CAROL)
    deliver()
    return budget


def assignments() -> list[LearnerContentAssignment]:
    return list(LearnerContentAssignment.objects.order_by("pk"))


def fail(*kinds: ActionType) -> None:
    failure = Failure(ErrorReason.INTERNAL_API_ERROR, "message_refused", "It failed.", "")
    pending = LearnerContentAssignmentAction.objects.filter(action_type__in=kinds, status=Status.PENDING)
    for one in actions.claim(now=NOW, lease=timedelta(hours=1), limit=9, pks=[row.pk for row in pending]):
        actions.finish(one, Failed(failure), now=NOW)


def test_of_one_learner_it_is_due_at_once_and_not_before() -> None:
    given_assignment(now=LATER)
    assert waiting(ActionType.NOTIFIED) == [(ALICE, 0, 0)]


def test_work_of_one_learner_is_due_at_once_also_beside_a_fact(budget: Budget) -> None:
    alice, bob, _carol = assignments()
    actions.request([alice], [ActionType.REMINDED], now=LATER)
    actions.record_and_request(
        [bob], ActionType.CANCELLED, work=[ActionType.CANCELLATION_NOTIFIED], now=LATER
    )
    assert waiting(ActionType.REMINDED) == [(ALICE, 0, 0)]
    assert waiting(ActionType.CANCELLATION_NOTIFIED) == [(BOB, 0, 0)]


def test_the_notice_of_one_cancellation_is_due_at_once(budget: Budget) -> None:
    cancellation.cancel(budget, uuids=[assignments()[0].uuid], now=LATER)
    assert waiting(ActionType.CANCELLATION_NOTIFIED) == [(ALICE, 0, 0)]


@pytest.mark.on_every_engine
def test_the_learners_of_one_request_are_due_one_after_the_other() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL, now=LATER)
    assert waiting(ActionType.NOTIFIED) == IN_TURN


def test_those_that_were_there_before_come_behind_the_new_ones_of_the_same_request() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB)
    cancellation.cancel(budget, uuids=[assignments()[0].uuid], now=NOW)
    fail(ActionType.NOTIFIED)

    allocate(budget, content, ALICE, BOB, CAROL, now=LATER)

    assert waiting(ActionType.NOTIFIED) == [(CAROL, 0, 0), (ALICE, 1, 1), (BOB, 2, 1)]


@pytest.mark.on_every_engine
def test_those_that_are_notified_again_take_turns_over_several_statements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocation, "ROWS_PER_STATEMENT", 1)
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB)
    fail(ActionType.NOTIFIED)

    allocate(budget, content, ALICE, BOB, CAROL, now=LATER)

    assert waiting(ActionType.NOTIFIED) == [(CAROL, 0, 0), (ALICE, 1, 1), (BOB, 2, 1)]


@pytest.mark.on_every_engine
def test_two_mails_that_failed_of_one_learner_have_one_place(budget: Budget) -> None:
    kinds = (ActionType.REMINDED, ActionType.NUDGED)
    LearnerContentAssignment.objects.update(content_start=NOW + timedelta(days=9))
    actions.request(assignments(), kinds, now=NOW)
    fail(*kinds)
    failures.retry(budget, uuids=[one.uuid for one in assignments()], now=LATER)
    assert waiting(ActionType.REMINDED) == waiting(ActionType.NUDGED) == IN_TURN


def cancel_all(budget: Budget) -> ActionType:
    cancellation.cancel_all(budget, uuids=[one.uuid for one in assignments()], now=LATER)
    return ActionType.CANCELLATION_NOTIFIED


def remind_all(budget: Budget) -> ActionType:
    reminders.remind_waiting(budget, uuids=[one.uuid for one in assignments()], now=LATER)
    return ActionType.REMINDED


def retry_all(budget: Budget) -> ActionType:
    actions.request(assignments(), [ActionType.REMINDED], now=NOW, dedup_key="asked")
    fail(ActionType.REMINDED)
    failures.retry(budget, uuids=[one.uuid for one in assignments()], now=LATER)
    return ActionType.REMINDED


def expire_all(_budget: Budget) -> ActionType:
    LearnerContentAssignment.objects.update(expires_at=NOW)
    expiry.expire_due(now=LATER)
    return ActionType.EXPIRATION_NOTIFIED


def remind_due(_budget: Budget) -> ActionType:
    LearnerContentAssignment.objects.update(
        learner_state=LearnerState.WAITING, allocated_at=LATER - timedelta(days=8)
    )
    LearnerContentAssignmentAction.objects.update(completed_at=LATER - timedelta(days=8))
    LearnerContentAssignment.objects.update(remind_at=NOW)
    reminders.remind_due(now=LATER)
    return ActionType.REMINDED


@pytest.mark.on_every_engine
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("many", [cancel_all, remind_all, retry_all, expire_all, remind_due])
def test_what_is_done_in_batches_takes_one_turn_after_the_other(
    budget: Budget, many: Callable[[Budget], ActionType]
) -> None:
    assert waiting(many(budget)) == IN_TURN


def test_corrected_addresses_are_mailed_in_turn(budget: Budget) -> None:
    pairs = [(one, f"new-{one}") for one in (ALICE, BOB, CAROL)]
    address_corrections.correct_pairs(pairs, now=LATER)
    assert waiting(ActionType.NOTIFIED) == [(f"new-{address}", *turn) for address, *turn in IN_TURN]
