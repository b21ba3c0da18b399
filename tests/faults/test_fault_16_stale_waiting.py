"""Fault 16 of the peer: allocated again while mail was down, it showed the old cycle's `waiting`."""

from datetime import timedelta

import pytest

from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import LearnerState
from bursary.assignments.models import LearnerContentAssignment
from tests.smtp import MailServer
from tests.world import ALICE, NOW, allocate, deliver, given_assignment

pytestmark = pytest.mark.django_db


def test_fault_16_only_this_cycles_mail_makes_it_waiting(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    assert _learner_state() == LearnerState.WAITING
    later = NOW + timedelta(days=1)
    cancel(assignment.budget, uuids=[assignment.uuid], now=later)
    mail.go()
    assert assignment.content
    allocate(assignment.budget, assignment.content, ALICE, now=later)
    deliver(now=later)
    assert len(mail.received) == 1
    assert _learner_state() == LearnerState.NOTIFYING

    mail.come()
    deliver(now=later + timedelta(hours=1))
    assert _learner_state() == LearnerState.WAITING


def _learner_state() -> int:
    return LearnerContentAssignment.objects.get().learner_state
