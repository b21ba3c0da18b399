"""The transitions of an assignment, pinned by a table of their own; `move` follows them or refuses."""

from datetime import timedelta
from itertools import product
from typing import NamedTuple

import pytest
from django.db import transaction

from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.lifecycle import MOVES, MoveRefused, move
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.models import Account, Budget
from bursary.lib.locks import for_update
from tests.world import (
    NOW,
    PRICE,
    addresses,
    allocate,
    given_assignment,
    given_budget,
    given_content,
    given_user,
    link_as_work,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)


class Expected(NamedTuple):
    """What a move does. Written down here, and not read from MOVES, so that a change of MOVES is seen."""

    targets: dict[State, State]
    """By the state before; other states are refused."""
    redeeming: bool
    """Allowed only while a redemption is in flight; otherwise only while none is."""
    time_column: str
    fact: bool
    requests: set[str]
    supersedes: set[str]
    reserved_cents: int
    """What is reserved afterwards, of PRICE before."""
    cycle: int
    learner_state: LearnerState


EXPECTED = {
    "allocated": Expected(
        targets={
            State.CANCELLED: State.ALLOCATED,
            State.EXPIRED: State.ALLOCATED,
            State.REVERSED: State.ALLOCATED,
        },
        redeeming=False,
        time_column="allocated_at",
        fact=True,
        requests={"learner_linked", "notified"},
        supersedes={"cancellation_notified", "expiration_notified"},
        reserved_cents=PRICE,
        cycle=2,
        learner_state=LearnerState.NOTIFYING,
    ),
    "redeemed": Expected(
        targets={State.ALLOCATED: State.ACCEPTED},
        redeeming=True,
        time_column="accepted_at",
        fact=False,
        requests=set(),
        supersedes={"notified", "reminded"},
        reserved_cents=PRICE,
        cycle=1,
        learner_state=LearnerState.NONE,
    ),
    "cancelled": Expected(
        targets={State.ALLOCATED: State.CANCELLED},
        redeeming=False,
        time_column="cancelled_at",
        fact=True,
        requests={"cancellation_notified"},
        supersedes={"learner_linked", "notified", "reminded", "nudged"},
        reserved_cents=0,
        cycle=1,
        learner_state=LearnerState.NONE,
    ),
    "declined": Expected(
        targets={State.ALLOCATED: State.CANCELLED},
        redeeming=False,
        time_column="cancelled_at",
        fact=True,
        requests=set(),
        supersedes={"learner_linked", "notified", "reminded", "nudged"},
        reserved_cents=0,
        cycle=1,
        learner_state=LearnerState.DECLINED,
    ),
    "expired": Expected(
        targets={State.ALLOCATED: State.EXPIRED},
        redeeming=False,
        time_column="expired_at",
        fact=True,
        requests={"expiration_notified"},
        supersedes={"learner_linked", "notified", "reminded", "nudged"},
        reserved_cents=0,
        cycle=1,
        learner_state=LearnerState.EXPIRED,
    ),
    "reversed": Expected(
        targets={State.ACCEPTED: State.REVERSED},
        redeeming=False,
        time_column="reversed_at",
        fact=True,
        requests=set(),
        supersedes={"nudged"},
        reserved_cents=PRICE,
        cycle=1,
        learner_state=LearnerState.NONE,
    ),
}
TIME_COLUMNS = {"allocated_at", "accepted_at", "cancelled_at", "expired_at", "reversed_at"}
WORK = {
    "learner_linked",
    "notified",
    "reminded",
    "nudged",
    "redeemed",
    "cancellation_notified",
    "expiration_notified",
}


def given_assignment_in(state: State, *, redeeming: bool = False) -> LearnerContentAssignment:
    """Return an assignment put into a state by hand, with PRICE reserved and all work pending."""
    assignment = given_assignment()
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(
        state=state, redeeming_since=NOW if redeeming else None
    )
    for work in WORK - {"learner_linked", "notified"}:
        assignment.actions.create(
            action_type=work,
            cycle=1,
            dedup_key="before",
            status=Status.PENDING,
            created=NOW,
            modified=NOW,
            due_at=NOW,
            early=0,
        )
    link_as_work(assignment)
    assignment.actions.filter(dedup_key="").update(dedup_key="before")
    assignment.refresh_from_db()
    return assignment


def moved(assignment: LearnerContentAssignment, action_type: ActionType) -> None:
    with transaction.atomic():
        budget = ledger.lock(assignment.budget_id)
        locked = for_update(LearnerContentAssignment.objects.all()).get(pk=assignment.pk)
        move(budget, [locked], action_type, now=LATER)


def test_the_table_names_every_move() -> None:
    assert {str(action_type) for action_type in MOVES} == set(EXPECTED)


@pytest.mark.parametrize(
    ("action_type", "state", "redeeming"),
    [
        (action_type, state, redeeming)
        for action_type, state, redeeming in product(EXPECTED, State, (False, True))
        if state == State.ALLOCATED or not redeeming  # a CHECK allows a redemption of nothing else
    ],
)
def test_every_move_from_every_state_does_what_the_table_says(
    action_type: str, state: State, redeeming: bool
) -> None:
    assignment, expected = given_assignment_in(state, redeeming=redeeming), EXPECTED[action_type]
    columns = LearnerContentAssignment.objects.values().get()
    actions = set(assignment.actions.values_list("pk", "status"))
    target = expected.targets.get(state)

    if target is None or redeeming != expected.redeeming:
        with pytest.raises(MoveRefused) as refused:
            moved(assignment, ActionType(action_type))
        assert refused.value.refused == [assignment]
        assert LearnerContentAssignment.objects.values().get() == columns
        assert set(assignment.actions.values_list("pk", "status")) == actions
        assert Budget.objects.get().reserved_cents == PRICE
        return

    moved(assignment, ActionType(action_type))
    after = LearnerContentAssignment.objects.get()
    assert (after.state, after.cycle, after.learner_state) == (target, expected.cycle, expected.learner_state)
    assert (after.redeeming_since, after.modified) == (None, LATER)
    changed = {column for column in TIME_COLUMNS if getattr(after, column) == LATER}
    assert changed == {expected.time_column}
    assert (
        Budget.objects.get().reserved_cents == Account.objects.get().reserved_cents == expected.reserved_cents
    )

    before = assignment.actions.filter(dedup_key="before", action_type__in=WORK)
    superseded = before.filter(status=Status.SUPERSEDED, due_at=None, error_code=action_type)
    assert set(superseded.values_list("action_type", flat=True)) == expected.supersedes
    pending = before.filter(status=Status.PENDING, due_at=NOW)
    assert set(pending.values_list("action_type", flat=True)) == WORK - expected.supersedes
    new = assignment.actions.filter(dedup_key="", cycle=expected.cycle, created=LATER)
    assert set(new.filter(status=Status.PENDING).values_list("due_at", "early")) <= {(LATER, 0)}
    facts = {(action_type, Status.DONE)} if expected.fact else set()
    assert set(new.values_list("action_type", "status")) == facts | {
        (work, Status.DONE if work == "learner_linked" else Status.PENDING) for work in expected.requests
    }


@pytest.mark.parametrize(
    ("action_type", "learner_state"),
    [
        (ActionType.CANCELLED, LearnerState.NONE),
        (ActionType.DECLINED, LearnerState.DECLINED),
        (ActionType.EXPIRED, LearnerState.EXPIRED),
    ],
)
@pytest.mark.on_every_engine
def test_a_move_settles_what_the_list_says(action_type: ActionType, learner_state: LearnerState) -> None:
    assignment = given_assignment()
    moved(assignment, action_type)
    assignment.refresh_from_db()
    assert assignment.learner_state == learner_state


@pytest.mark.parametrize(
    ("action_type", "state", "kept"),
    [
        (ActionType.CANCELLED, State.ALLOCATED, True),
        (ActionType.REVERSED, State.ACCEPTED, True),
        (ActionType.ALLOCATED, State.REVERSED, False),
    ],
)
def test_what_belongs_to_a_cycle_is_kept_until_the_next_one(
    action_type: ActionType, state: State, kept: bool
) -> None:
    assignment = given_assignment_in(state)
    LearnerContentAssignment.objects.update(accepted_at=NOW, extended_until=LATER, decline_reason="Far.")
    moved(assignment, action_type)
    after = LearnerContentAssignment.objects.get()
    expected = (NOW, LATER, "Far.") if kept else (None, None, "")
    assert (after.accepted_at, after.extended_until, after.decline_reason) == expected


@pytest.mark.on_every_engine
def test_running_work_is_not_superseded_and_finishes_truthfully() -> None:
    assignment = given_assignment()
    notified = assignment.actions.filter(action_type=ActionType.NOTIFIED)
    notified.update(status=Status.RUNNING, fence=1)
    moved(assignment, ActionType.CANCELLED)
    assert notified.get().status == Status.RUNNING


@pytest.mark.on_every_engine
def test_a_refusal_says_where_each_assignment_stands() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, *addresses(3))
    first, second, _open = LearnerContentAssignment.objects.order_by("pk")
    LearnerContentAssignment.objects.filter(pk=first.pk).update(redeeming_since=NOW)
    LearnerContentAssignment.objects.filter(pk=second.pk).update(state=State.EXPIRED)
    assignments = list(LearnerContentAssignment.objects.order_by("pk"))
    with pytest.raises(MoveRefused) as refused, transaction.atomic():
        move(ledger.lock(budget.pk), assignments, ActionType.CANCELLED, now=LATER)
    assert str(refused.value) == (
        f"Cancelled is not possible: {first.uuid} is being redeemed, {second.uuid} is expired."
    )


@pytest.mark.parametrize(
    ("action_type", "state"), [(ActionType.ALLOCATED, State.EXPIRED), (ActionType.CANCELLED, State.ALLOCATED)]
)
@pytest.mark.on_every_engine
def test_the_instances_are_as_stored_after_a_move(action_type: ActionType, state: State) -> None:
    assignment = given_assignment_in(state)
    with transaction.atomic():
        budget = ledger.lock(assignment.budget_id)
        move(budget, [assignment], action_type, now=LATER, changes={"due_date": LATER})
    columns = [field.attname for field in assignment._meta.concrete_fields]
    stored = LearnerContentAssignment.objects.values(*columns).get()
    assert {name: getattr(assignment, name) for name in columns} == stored


def test_a_move_writes_its_detail_and_its_actor_into_the_fact() -> None:
    plain, explained, ada = given_assignment(), given_assignment(), given_user()
    moved(plain, ActionType.CANCELLED)
    with transaction.atomic():
        budget = ledger.lock(explained.budget_id)
        move(budget, [explained], ActionType.CANCELLED, now=LATER, actor=ada, detail="Two assignments met.")
    facts = [one.actions.get(action_type=ActionType.CANCELLED) for one in (plain, explained)]
    assert [(fact.detail, fact.actor) for fact in facts] == [("", None), ("Two assignments met.", ada)]


@pytest.mark.on_every_engine
def test_a_caller_that_did_not_lock_is_refused_when_another_was_faster() -> None:
    stale = given_assignment()
    moved(stale, ActionType.CANCELLED)
    with pytest.raises(MoveRefused) as refused, transaction.atomic():
        move(ledger.lock(stale.budget_id), [stale], ActionType.EXPIRED, now=LATER)
    assert (refused.value.action_type, refused.value.refused) == (ActionType.EXPIRED, [stale])
    assert refused.value.refused[0].state == State.CANCELLED
    assert LearnerContentAssignment.objects.get().state == State.CANCELLED
    assert Budget.objects.get().reserved_cents == 0


@pytest.mark.on_every_engine
def test_a_caller_that_did_not_lock_is_refused_when_a_redemption_has_begun() -> None:
    stale = given_assignment()
    LearnerContentAssignment.objects.update(redeeming_since=NOW)
    with pytest.raises(MoveRefused), transaction.atomic():
        move(ledger.lock(stale.budget_id), [stale], ActionType.EXPIRED, now=LATER)
    assert LearnerContentAssignment.objects.get().state == State.ALLOCATED
    assert Budget.objects.get().reserved_cents == PRICE
