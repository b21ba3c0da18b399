"""A rejected address: failed at once with reason, cause and stack trace; corrected; retried as a new row."""

from datetime import timedelta

import pytest

from bursary.access.models import LearnerLink
from bursary.assignments import address_corrections
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests.smtp import MailServer
from tests.world import NOW, action_of, deliver, given_assignment, given_user, timeline

pytestmark = pytest.mark.django_db

WRONG, RIGHT = "alcie@learners.example", "alice@learners.example"


def test_a_rejected_address(mail: MailServer) -> None:
    mail.refuses.add(WRONG)
    assignment = given_assignment(address=WRONG)
    deliver()
    failed = it_failed_at_once_and_says_why(assignment)
    it_is_put_right_and_retried(assignment, failed, mail)
    assert timeline(assignment) == [
        (ActionType.ALLOCATED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
        (ActionType.NOTIFIED, Status.FAILED),
        (ActionType.EMAIL_CORRECTED, Status.DONE),
        (ActionType.NOTIFIED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
    ]


def it_failed_at_once_and_says_why(
    assignment: LearnerContentAssignment,
) -> LearnerContentAssignmentAction:
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert (failed.status, failed.attempts, failed.completed_at) == (Status.FAILED, 1, NOW)
    assert (failed.error_reason, failed.error_code) == (ErrorReason.EMAIL_ERROR, "address_rejected")
    assert "550" in failed.detail
    assert "SMTPRecipientsRefused" in failed.traceback
    assignment.refresh_from_db()
    assert (assignment.state, assignment.learner_state) == (State.ALLOCATED, LearnerState.FAILED)
    assert LearnerContentAssignmentAction.objects.failures().get() == failed
    return failed


def it_is_put_right_and_retried(
    assignment: LearnerContentAssignment, failed: LearnerContentAssignmentAction, mail: MailServer
) -> None:
    ada, later = given_user(), NOW + timedelta(hours=2)
    address_corrections.correct_assignment(assignment, address=RIGHT, now=later, actor=ada)
    assert assignment.learner_state == LearnerState.NOTIFYING
    deliver(now=later)

    assert [message["To"] for message in mail.received] == [RIGHT]
    retried = action_of(assignment, ActionType.NOTIFIED)
    assert (retried.status, retried.retry_of, retried.actor) == (Status.DONE, failed, ada)
    failed.refresh_from_db()
    assert (failed.status, failed.recipient) == (Status.FAILED, WRONG)
    assignment.refresh_from_db()
    assert (assignment.learner_email, assignment.learner_state) == (RIGHT, LearnerState.WAITING)
    assert LearnerLink.objects.filter(learner_email=RIGHT).exists()
    assert LearnerContentAssignmentAction.objects.latest_successful() in (
        retried,
        action_of(assignment, ActionType.LEARNER_LINKED),
    )
