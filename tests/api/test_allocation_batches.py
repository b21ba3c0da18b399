"""A request to allocate, read later: what it asked for, and what became of its learners."""

from uuid import uuid4

import pytest

from bursary.access.models import Role
from bursary.assignments.choices import ActionType
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of, refusal_of
from tests.world import ALICE, BOB, PRICE, action_of, deliver, given_customer, given_user

pytestmark = pytest.mark.django_db

MESSAGE = "Dear all,\n<b>please</b> see https://example.org & decide."


def test_a_batch_keeps_the_request_and_counts_its_learners(budget: Budget, content: ContentMetadata) -> None:
    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    door = Door(session=ada)
    door.allocate(budget, content, BOB)
    deliver()

    made = door.allocate(budget, content, ALICE, BOB, "gone@learners.invalid", message=MESSAGE)
    deliver()

    answer = door.get(f"allocation-batches/{made.json()['allocation_batch_uuid']}/")
    assert answer.status_code == 200
    batch = answer.json()
    assert (batch["actor"], batch["content_key"], batch["content_price_cents"]) == (
        ada.username,
        content.content_key,
        PRICE,
    )
    assert (batch["message"], batch["policy_uuid"]) == (MESSAGE, str(budget.uuid))
    assert batch["verdicts"] == [
        {"verdict": "new", "count": 2},
        {"verdict": "already_assigned", "count": 1},
    ]
    assert batch["states"] == [
        {"state": "allocated", "learner_state": "waiting", "count": 1},
        {"state": "allocated", "learner_state": "failed", "count": 1},
    ]
    assert batch["causes"] == [{"cause": "address_rejected", "count": 1}]
    bobs = LearnerContentAssignment.objects.get(learner_email=BOB)
    assert batch["no_change"] == [{"assignment_uuid": str(bobs.uuid), "verdict": "already_assigned"}]
    assert {row["learner_email"] for row in batch["results"]} == {ALICE, "gone@learners.invalid"}
    listed = door.assignments(budget, allocation_batch=batch["uuid"]).json()
    assert listed["count"] == batch["count"] == 2


def test_the_message_is_in_the_mail_about_the_assignment_escaped_and_in_no_other(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    door.allocate(budget, content, ALICE, message=f"  {MESSAGE}  ")
    deliver()
    (assignment,) = LearnerContentAssignment.objects.all()

    sent = action_of(assignment, ActionType.NOTIFIED).payload
    assert f"A message from {budget.customer.name}:\n\n{MESSAGE}\n" in sent["text"]
    assert "&lt;b&gt;please&lt;/b&gt; see https://example.org &amp; decide." in sent["html"]
    assert "<b>" not in sent["html"]
    assert 'href="https://example.org' not in sent["html"]

    door.remind(budget, assignment.uuid)
    door.cancel(budget, assignment.uuid)
    deliver()
    assert "Dear all" not in str(action_of(assignment, ActionType.CANCELLATION_NOTIFIED).payload)


@pytest.mark.parametrize("message", ["x" * 1001, "nul \0", 7 * [1]])
def test_a_message_that_is_too_long_or_unreadable_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, message: object
) -> None:
    answer = door.allocate(budget, content, ALICE, message=message)
    assert refusal_of(answer) == (400, "invalid_request")
    assert "message" in answer.json()
    assert not AllocationBatch.objects.exists()


def test_a_preview_takes_the_message_and_keeps_nothing(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assert door.can_allocate(budget, content, ALICE, message=MESSAGE).json()["can_allocate"]
    assert not AllocationBatch.objects.exists()


def test_a_refused_allocation_leaves_no_batch(door: Door, content: ContentMetadata, budget: Budget) -> None:
    assert door.allocate(budget, content, ALICE, content_price_cents=1).status_code == 422
    assert not AllocationBatch.objects.exists()


@pytest.mark.parametrize("own", [False, True])
def test_a_foreign_batch_or_role_is_not_found(
    door: Door, budget: Budget, content: ContentMetadata, own: bool
) -> None:
    made = door.allocate(budget, content, ALICE).json()["allocation_batch_uuid"]
    other = (
        door_of(Role.LEARNER, customer=budget.customer)
        if own
        else door_of(Role.ADMINISTRATOR, customer=given_customer())
    )
    assert refusal_of(other.get(f"allocation-batches/{made}/")) == (404, "not_found")
    assert refusal_of(door.get(f"allocation-batches/{uuid4()}/")) == (404, "not_found")
