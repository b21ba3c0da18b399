"""Fault 11 of the peer: a healthy cancellation left `cancelled_at` empty."""

from datetime import timedelta

import pytest

from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import State
from tests.world import NOW, given_assignment

pytestmark = pytest.mark.django_db


def test_fault_11_a_cancelled_assignment_says_when() -> None:
    assignment, later = given_assignment(), NOW + timedelta(days=1)
    cancel(assignment.budget, uuids=[assignment.uuid], now=later)
    assignment.refresh_from_db()
    assert (assignment.state, assignment.cancelled_at) == (State.CANCELLED, later)
