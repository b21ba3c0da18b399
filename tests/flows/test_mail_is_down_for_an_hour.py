"""The mail server is away for an hour: attempts grow, the state stays, one mail arrives when it returns."""

from datetime import timedelta

import pytest

from bursary.assignments.choices import ActionType, LearnerState, State, Status
from tests.smtp import MailServer
from tests.world import ALICE, NOW, action_of, deliver, given_assignment

pytestmark = pytest.mark.django_db


def test_mail_is_down_for_an_hour(mail: MailServer) -> None:
    assignment = given_assignment()
    mail.go()
    attempts = []
    for minute in range(60):
        deliver(now=NOW + timedelta(minutes=minute))
        notified = action_of(assignment, ActionType.NOTIFIED)
        attempts.append(notified.attempts)
        assert notified.status == Status.PENDING
        assert notified.due_at is not None
        assert notified.completed_at is None
        assert notified.error_reason == ""
        assignment.refresh_from_db()
        assert (assignment.state, assignment.learner_state) == (State.ALLOCATED, LearnerState.NOTIFYING)
    assert attempts == sorted(attempts)
    assert 2 <= attempts[-1] < 20
    last = action_of(assignment, ActionType.NOTIFIED).attempt_log[-1]
    assert last["cause"] == "mail_server_unreachable"
    assert "ConnectionRefusedError" in last["traceback"]

    mail.come()
    for hour in range(1, 4):
        deliver(now=NOW + timedelta(hours=hour))

    assert [message["To"] for message in mail.received] == [ALICE]
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.status, notified.due_at) == (Status.DONE, None)
    assert mail.received[0]["Message-ID"] == f"<{notified.uuid}@testserver>" == notified.provider_ref
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.WAITING
    assert assignment.actions.filter(action_type=ActionType.NOTIFIED).count() == 1
