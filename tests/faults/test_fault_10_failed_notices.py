"""Fault 10 of the peer: a failed cancellation or expiry mail turned the assignment into an errored one."""

from datetime import timedelta

import pytest

from bursary.assignments import expiry
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State, Status
from tests.smtp import MailServer
from tests.world import ALICE, NOW, action_of, deliver, given_assignment

pytestmark = pytest.mark.django_db

OVER = NOW + timedelta(days=90)


def test_fault_10_a_failed_cancellation_mail_leaves_it_cancelled(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    mail.refuses.add(ALICE)
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    deliver()
    assert action_of(assignment, ActionType.CANCELLATION_NOTIFIED).status == Status.FAILED
    assignment.refresh_from_db()
    assert (assignment.state, assignment.cancelled_at) == (State.CANCELLED, NOW)


def test_fault_10_a_failed_expiry_mail_leaves_it_expired(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    mail.refuses.add(ALICE)
    expiry.expire_due(now=OVER)
    deliver(now=OVER)
    assert action_of(assignment, ActionType.EXPIRATION_NOTIFIED).status == Status.FAILED
    assignment.refresh_from_db()
    assert (assignment.state, assignment.expired_at) == (State.EXPIRED, OVER)
