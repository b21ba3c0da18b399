"""What administrators see of an assignment to the learner of an ended account."""

import pytest

from bursary.access.models import User
from bursary.assignments import address_corrections, expected_values
from bursary.assignments.choices import ActionType, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment
from tests.smtp import MailServer
from tests.world import ALICE, BOB, NOW, action_of, deliver, given_assignment, given_user

pytestmark = pytest.mark.django_db


def state_of(assignment: LearnerContentAssignment) -> LearnerState:
    """Return the stored learner state, which the audit finds right."""
    assignment.refresh_from_db()
    expected = expected_values.expected_columns(assignment, list(assignment.actions.all()), (), now=NOW)
    assert assignment.learner_state == expected["learner_state"]
    return LearnerState(assignment.learner_state)


@pytest.fixture
def skipped(mail: MailServer) -> LearnerContentAssignment:
    """Return an open assignment that no mail was sent about, because the account was deactivated."""
    account = given_user(email=ALICE)
    assignment = given_assignment()
    account.is_active = False
    account.save()
    deliver()
    assert (action_of(assignment, ActionType.NOTIFIED).status, mail.received) == (Status.SKIPPED, [])
    return assignment


def test_no_mail_is_on_its_way_to_the_learner_of_an_ended_account(
    skipped: LearnerContentAssignment,
) -> None:
    assert state_of(skipped) is LearnerState.FAILED
    assert skipped.current_failure() is None


def test_the_mail_to_a_corrected_address_counts_again(
    skipped: LearnerContentAssignment, mail: MailServer
) -> None:
    address_corrections.correct_assignment(skipped, address=BOB, now=NOW)
    assert state_of(skipped) is LearnerState.NOTIFYING
    deliver()
    assert state_of(skipped) is LearnerState.WAITING
    assert [one["To"] for one in mail.received] == [BOB]


def test_a_reminder_that_is_skipped_changes_nothing_for_a_notified_learner(mail: MailServer) -> None:
    given_user(email=ALICE)
    assignment = given_assignment()
    deliver()
    User.objects.update(is_active=False)
    assignment.actions.create(
        action_type=ActionType.REMINDED,
        cycle=1,
        status=Status.PENDING,
        created=NOW,
        modified=NOW,
        due_at=NOW,
        early=0,
        recipient=ALICE,
    )
    deliver()
    assert action_of(assignment, ActionType.REMINDED).status == Status.SKIPPED
    assert state_of(assignment) is LearnerState.WAITING
