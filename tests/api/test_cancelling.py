"""Cancelling over HTTP: what came of every assignment that was named."""

from uuid import uuid4

import pytest

from bursary.access.models import Role
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    allocate,
    given_assignment,
    given_budget,
    given_user,
    state_of,
    timeline,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def open_ones(budget: Budget, content: ContentMetadata) -> list[LearnerContentAssignment]:
    allocate(budget, content, ALICE, BOB, CAROL)
    return list(LearnerContentAssignment.objects.order_by("pk"))


def test_cancelling_frees_the_money_and_returns_the_result_of_each(
    door: Door, budget: Budget, open_ones: list[LearnerContentAssignment]
) -> None:
    alice, bob, _carol = open_ones

    answer = door.cancel(budget, bob.uuid, alice.uuid)

    assert answer.status_code == 200
    assert answer.json() == {
        "cancelled": [str(bob.uuid), str(alice.uuid)],
        "no_change": [],
        "not_cancelled": [],
    }
    assert [state_of(one) for one in open_ones] == [State.CANCELLED, State.CANCELLED, State.ALLOCATED]
    assert Budget.objects.get().reserved_cents == PRICE
    assert timeline(alice)[-2:] == [("cancelled", "done"), ("cancellation_notified", "pending")]


def test_the_cancelling_administrator_is_on_the_timeline(budget: Budget, content: ContentMetadata) -> None:
    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    assignment = given_assignment(budget, content)
    Door(session=ada).cancel(budget, assignment.uuid)
    assert assignment.actions.get(action_type="cancelled").actor == ada


def test_what_can_be_cancelled_is_cancelled_and_the_rest_is_named(
    door: Door, budget: Budget, open_ones: list[LearnerContentAssignment]
) -> None:
    alice, bob, carol = open_ones
    LearnerContentAssignment.objects.filter(pk=bob.pk).update(state=State.ACCEPTED)
    LearnerContentAssignment.objects.filter(pk=carol.pk).update(redeeming_since=NOW)
    stranger = uuid4()

    answer = door.cancel(budget, alice.uuid, bob.uuid, carol.uuid, stranger)

    assert answer.status_code == 200
    body = answer.json()
    assert (body["cancelled"], body["no_change"]) == ([str(alice.uuid)], [])
    not_open = {"reason": "not_cancellable", "next_step": "Only open assignments can be cancelled."}
    assert body["not_cancelled"] == [
        not_open | {"user_message": "This assignment is accepted.", "assignment_uuid": str(bob.uuid)},
        not_open | {"user_message": "This assignment is being redeemed.", "assignment_uuid": str(carol.uuid)},
        {
            "reason": "unknown_assignment",
            "user_message": "There is no such assignment in this budget.",
            "next_step": "Reload the list.",
            "assignment_uuid": str(stranger),
        },
    ]
    assert state_of(carol) == State.ALLOCATED


@pytest.mark.parametrize("state", [State.ACCEPTED, State.EXPIRED, State.REVERSED])
def test_where_none_can_be_cancelled_the_answer_is_422_in_the_clients_shape(
    door: Door, budget: Budget, content: ContentMetadata, state: State
) -> None:
    assignment = given_assignment(budget, content)
    LearnerContentAssignment.objects.update(state=state)

    answer = door.cancel(budget, assignment.uuid, uuid4())

    assert answer.status_code == 422
    body = answer.json()
    assert [one["reason"] for one in body] == ["not_cancellable", "unknown_assignment"]
    assert body[0]["user_message"] == f"This assignment is {state}."
    assert state_of(assignment) == state
    assert Budget.objects.get().reserved_cents == PRICE


def test_cancelling_again_does_no_harm(
    door: Door, budget: Budget, open_ones: list[LearnerContentAssignment]
) -> None:
    alice = open_ones[0]
    door.cancel(budget, alice.uuid)
    before = timeline(alice)

    answer = door.cancel(budget, alice.uuid)

    assert answer.status_code == 200
    assert answer.json() == {"cancelled": [], "no_change": [str(alice.uuid)], "not_cancelled": []}
    assert timeline(alice) == before
    assert Budget.objects.get().reserved_cents == 2 * PRICE


def test_what_is_named_twice_is_cancelled_once(
    door: Door, budget: Budget, open_ones: list[LearnerContentAssignment]
) -> None:
    alice = open_ones[0]
    body = door.cancel(budget, alice.uuid, alice.uuid, str(alice.uuid).upper()).json()
    assert body["cancelled"] == [str(alice.uuid)]
    assert Budget.objects.get().reserved_cents == 2 * PRICE


def test_an_assignment_of_another_budget_is_unknown_here(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    other = given_assignment(given_budget(customer=budget.customer), content)
    answer = door.cancel(budget, other.uuid)
    assert answer.status_code == 422
    assert answer.json()[0]["reason"] == "unknown_assignment"
    assert state_of(other) == State.ALLOCATED


def test_a_cancelled_assignment_leaves_the_list_of_what_is_open(
    door: Door, budget: Budget, open_ones: list[LearnerContentAssignment]
) -> None:
    door.cancel(budget, *(one.uuid for one in open_ones))
    assert door.assignments(budget, state__in="allocated,errored").json()["count"] == 0
    body = door.assignments(budget, state="cancelled").json()
    assert body["count"] == 3
    assert {row["learner_state"] for row in body["results"]} == {None}
