"""MOVES, the table; and move(), which does what it says or refuses by name."""

from datetime import timedelta

import pytest
from django.db import transaction

from bursary.assignments.choices import FACTS, ActionType, LearnerState, State, Status
from bursary.assignments.lifecycle import MOVES, MoveRefused, move
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from tests.world import NOW, PRICE, given_assignment, timeline

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)


def given_assignment_in(state: State, *, held: bool) -> LearnerContentAssignment:
    """Return an assignment put into a state by hand, with money held as it would be."""
    assignment = given_assignment()
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(
        state=state, redeeming_since=NOW if held else None
    )
    assignment.refresh_from_db()
    return assignment


def moved(assignment: LearnerContentAssignment, by: ActionType) -> None:
    with transaction.atomic():
        budget = ledger.lock(assignment.budget_id)
        locked = LearnerContentAssignment.objects.select_for_update().get(pk=assignment.pk)
        move(budget, [locked], by, now=LATER)


CASES = [
    (by, state, held)
    for by in MOVES
    for state in State
    for held in (False, True)
    if state == State.ALLOCATED or not held  # nothing else can be held: a CHECK says so
]


@pytest.mark.parametrize(("by", "state", "held"), CASES)
def test_every_move_from_every_state_moves_or_is_refused(by: ActionType, state: State, held: bool) -> None:
    assignment = given_assignment_in(state, held=held)
    before = LearnerContentAssignment.objects.values().get()
    rule = MOVES[by]

    if state not in rule.sources or held != rule.under_hold:
        with pytest.raises(MoveRefused) as refused:
            moved(assignment, by)
        assert refused.value.refused == [assignment]
        assert LearnerContentAssignment.objects.values().get() == before
        assert Budget.objects.get().held_cents == PRICE
        return

    moved(assignment, by)
    assignment.refresh_from_db()
    assert assignment.state == rule.target
    assert getattr(assignment, rule.stamp) == LATER
    assert assignment.redeeming_since is None
    assert Budget.objects.get().held_cents == (0 if rule.frees_money else PRICE)
    after = timeline(assignment)[3:]
    facts = [(by, Status.DONE)] if by in FACTS else []
    assert after == facts + [(work, Status.PENDING) for work in rule.requests]
    for kind, status in timeline(assignment)[1:3]:
        expected = Status.SUPERSEDED if kind in rule.supersedes else Status.PENDING
        assert status == expected


@pytest.mark.parametrize(
    ("by", "learner_state"),
    [
        (ActionType.CANCELLED, LearnerState.NONE),
        (ActionType.DECLINED, LearnerState.NONE),
        (ActionType.EXPIRED, LearnerState.EXPIRED),
    ],
)
def test_a_move_settles_what_the_list_says(by: ActionType, learner_state: LearnerState) -> None:
    assignment = given_assignment()
    moved(assignment, by)
    assignment.refresh_from_db()
    assert assignment.learner_state == learner_state


def test_running_work_is_not_superseded_and_finishes_truthfully() -> None:
    assignment = given_assignment()
    notified = assignment.actions.filter(action_type=ActionType.NOTIFIED)
    notified.update(status=Status.RUNNING, fence=1)
    moved(assignment, ActionType.CANCELLED)
    assert notified.get().status == Status.RUNNING


def test_a_refusal_says_where_each_assignment_stands() -> None:
    assignment = given_assignment_in(State.ALLOCATED, held=True)
    with pytest.raises(MoveRefused) as refused:
        moved(assignment, ActionType.CANCELLED)
    assert str(refused.value) == f"Cancelled is not possible: {assignment.uuid} is being redeemed."


def test_a_caller_that_did_not_lock_is_refused_when_somebody_was_faster() -> None:
    stale = given_assignment()
    moved(stale, ActionType.CANCELLED)
    with pytest.raises(MoveRefused), transaction.atomic():
        move(ledger.lock(stale.budget_id), [stale], ActionType.EXPIRED, now=LATER)
    assert LearnerContentAssignment.objects.get().state == State.CANCELLED
    assert Budget.objects.get().held_cents == 0
