"""Record 0013's three questions, and what the database itself refuses."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from bursary.assignments import actions
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests.world import ALICE, NOW, deliver, given_assignment

pytestmark = pytest.mark.django_db


def test_what_is_the_most_recent_successful_action() -> None:
    assignment = given_assignment(address="alice@learners.invalid")
    later = NOW + timedelta(minutes=1)
    actions.record([assignment], ActionType.DELIVERED, now=later)
    deliver(now=later)  # the mail is rejected
    latest = assignment.actions.latest_successful()
    assert latest is not None
    assert (latest.action_type, latest.completed_at) == (ActionType.DELIVERED, later)


def test_when_did_an_action_fail_and_why() -> None:
    assignment = given_assignment(address="alice@learners.invalid")
    deliver()
    (failed,) = assignment.actions.failures()
    assert (failed.action_type, failed.completed_at) == (ActionType.NOTIFIED, NOW)
    assert failed.error_code == "address_rejected"
    assert "DeliveryError" in failed.traceback


def test_all_actions_in_order_or_those_of_some_types() -> None:
    assignment = given_assignment()
    actions.record([assignment], ActionType.DELIVERED, now=NOW - timedelta(days=1))
    everything = [row.action_type for row in assignment.actions.timeline()]
    assert everything == [
        ActionType.DELIVERED,
        ActionType.ALLOCATED,
        ActionType.LEARNER_LINKED,
        ActionType.NOTIFIED,
    ]
    some = assignment.actions.timeline(types=[ActionType.NOTIFIED, ActionType.DELIVERED])
    assert [row.action_type for row in some] == [ActionType.DELIVERED, ActionType.NOTIFIED]


@pytest.mark.parametrize(
    "columns",
    [
        {"status": Status.DONE, "due_at": NOW},
        {"status": Status.PENDING, "due_at": None},
        {"status": Status.FAILED, "due_at": None, "error_reason": ""},
        {"status": "lost", "due_at": None},
    ],
    ids=["finished but due", "open but never due", "failed without a reason", "no such status"],
)
def test_the_database_refuses_actions_that_cannot_be(columns: dict[str, object]) -> None:
    given_assignment()
    pending = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    with pytest.raises(IntegrityError), transaction.atomic():
        pending.update(**columns)


@pytest.mark.parametrize(
    "columns",
    [{"state": "errored"}, {"state": State.ACCEPTED, "redeeming_since": NOW}],
    ids=["no such state", "held but accepted"],
)
def test_the_database_refuses_assignments_that_cannot_be(columns: dict[str, object]) -> None:
    given_assignment()
    with pytest.raises(IntegrityError), transaction.atomic():
        LearnerContentAssignment.objects.update(**columns)


def test_an_address_and_a_person_have_one_assignment_of_a_content_in_a_budget() -> None:
    first = given_assignment()
    LearnerContentAssignment.objects.update(lms_user_id=7)
    same = LearnerContentAssignment.objects.values().get()
    del same["id"], same["uuid"]
    for other in ({"lms_user_id": None}, {"learner_key": "another"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            LearnerContentAssignment.objects.create(**(same | other))
    assert first.learner_email == ALICE


def test_an_assignment_with_actions_cannot_be_deleted() -> None:
    assignment = given_assignment()
    with pytest.raises(Exception, match="protected"):
        assignment.delete()
