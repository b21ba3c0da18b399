"""Declining over HTTP: one's own, with a reason; shown to clients as cancelled."""

from uuid import uuid4

import pytest

from bursary.access.models import Role, User
from bursary.assignments import redemption
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, refusal_of
from tests.world import (
    ALICE,
    BOB,
    NOW,
    action_of,
    allocate,
    given_api_key,
    given_budget,
    given_user,
    state_of,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def lena(budget: Budget) -> User:
    return given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)


@pytest.fixture
def learner(lena: User) -> Door:
    return Door(key=given_api_key(lena))


@pytest.fixture
def assignment(budget: Budget, content: ContentMetadata) -> LearnerContentAssignment:
    allocate(budget, content, ALICE)
    return LearnerContentAssignment.objects.get()


def decline(door: Door, assignment: LearnerContentAssignment, **body: object) -> Answer:
    configuration = assignment.budget.assignment_configuration_uuid
    address = f"assignment-configurations/{configuration}/assignments/{assignment.uuid}/decline/"
    return door.post(address, body)


def test_a_learner_declines_and_repeating_it_says_so(
    learner: Door, lena: User, assignment: LearnerContentAssignment
) -> None:
    first, again = (decline(learner, assignment, reason=reason) for reason in ("No time.", "Still none."))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == {"uuid": str(assignment.uuid), "state": "cancelled", "no_change": False}
    assert again.json()["no_change"] is True
    fact = action_of(assignment, ActionType.DECLINED)
    assert (fact.detail, fact.actor) == ("No time.", lena)
    assert Budget.objects.get().reserved_cents == 0


def test_a_reason_need_not_be_given(learner: Door, assignment: LearnerContentAssignment) -> None:
    assert decline(learner, assignment).status_code == 200
    assert state_of(assignment) == State.CANCELLED


def test_the_administrator_sees_it_cancelled_with_the_reason_on_its_timeline(
    door: Door, learner: Door, budget: Budget, assignment: LearnerContentAssignment
) -> None:
    decline(learner, assignment, reason="No time.")
    (row,) = door.assignments(budget, state="cancelled").json()["results"]
    assert (row["uuid"], row["learner_state"]) == (str(assignment.uuid), None)
    assert door.assignments(budget, state="cancelled").json()["learner_state_counts"] == []
    for declined, count in (("true", 1), ("false", 0)):
        assert door.assignments(budget, declined=declined).json()["count"] == count
    last = door.timeline(assignment).json()["results"][-1]
    assert (last["action_type"], last["detail"]) == ("declined", "No time.")


def test_the_learner_is_shown_no_news_of_it_and_can_redeem_says_why(
    learner: Door, budget: Budget, assignment: LearnerContentAssignment
) -> None:
    decline(learner, assignment)
    customer = budget.customer.uuid
    credits = learner.get("policy-redemption/credits_available/", enterprise_customer_uuid=customer)
    assert credits.json() == []
    (verdict,) = learner.get(
        f"policy-redemption/enterprise-customer/{customer}/can-redeem/", content_key=assignment.content_key
    ).json()
    assert verdict["display_reason"]["reason"] == "reason_learner_assignment_cancelled"
    assert verdict["display_reason"]["user_message"] == "You declined this assignment."


def test_only_ones_own_can_be_declined(
    door: Door, learner: Door, budget: Budget, content: ContentMetadata
) -> None:
    allocate(budget, content, BOB)
    bobs = LearnerContentAssignment.objects.get()
    for caller in (learner, door):
        assert refusal_of(decline(caller, bobs)) == (404, "not_found")
    assert state_of(bobs) == State.ALLOCATED


def test_strangers_and_unknown_budgets_are_refused(
    learner: Door, assignment: LearnerContentAssignment
) -> None:
    assert refusal_of(decline(Door(), assignment)) == (401, "not_signed_in")
    stranger = Door(key=given_api_key(given_user(email="x@learners.example")))
    assert refusal_of(decline(stranger, assignment)) == (404, "not_found")
    address = f"assignment-configurations/{uuid4()}/assignments/{assignment.uuid}/decline/"
    assert refusal_of(learner.post(address, {})) == (404, "not_found")
    other = given_budget(customer=assignment.budget.customer).assignment_configuration_uuid
    address = f"assignment-configurations/{other}/assignments/{assignment.uuid}/decline/"
    assert refusal_of(learner.post(address, {})) == (404, "not_found")
    assert state_of(assignment) == State.ALLOCATED


@pytest.mark.parametrize(
    ("reason", "refused"),
    [
        ("x" * 1001, (422, "decline_reason_too_long")),
        ("no\0thing", (400, "invalid_request")),
        (["a", "list"], (400, "invalid_request")),
        (None, (400, "invalid_request")),
    ],
)
def test_a_reason_that_cannot_be_kept_is_refused(
    learner: Door, assignment: LearnerContentAssignment, reason: object, refused: tuple[int, str]
) -> None:
    assert refusal_of(decline(learner, assignment, reason=reason)) == refused
    assert state_of(assignment) == State.ALLOCATED


def test_half_a_character_is_refused(learner: Door, assignment: LearnerContentAssignment) -> None:
    configuration = assignment.budget.assignment_configuration_uuid
    address = f"assignment-configurations/{configuration}/assignments/{assignment.uuid}/decline/"
    answer = learner.send("POST", address, b'{"reason": "\\ud83d"}')
    assert refusal_of(answer) == (400, "invalid_request")


def test_what_is_being_accepted_is_refused(learner: Door, assignment: LearnerContentAssignment) -> None:
    redemption.begin(assignment, now=NOW)
    answer = decline(learner, assignment)
    assert refusal_of(answer) == (422, "reason_learner_assignment_being_redeemed")
