"""Fault 10 of the peer: a failed cancellation or expiry mail turned the assignment into an errored one."""

from datetime import timedelta

import pytest
from django.utils import timezone

from bursary.assignments import expiry
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State, Status
from tests.celery_stack import GROUP, CeleryStack, until_finished
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


@GROUP
@pytest.mark.needs_row_locks  # several processes that write
@pytest.mark.django_db(transaction=True)
def test_fault_10_a_cancellation_mail_that_a_worker_failed_to_send_leaves_it_cancelled(
    celery: CeleryStack,
) -> None:
    celery.worker()
    assignment = given_assignment(now=timezone.now())
    until_finished()
    celery.mail.refuses.add(ALICE)
    cancelled_at = timezone.now()
    cancel(assignment.budget, uuids=[assignment.uuid], now=cancelled_at)
    until_finished()
    assert action_of(assignment, ActionType.CANCELLATION_NOTIFIED).status == Status.FAILED
    assignment.refresh_from_db()
    assert (assignment.state, assignment.cancelled_at) == (State.CANCELLED, cancelled_at)
