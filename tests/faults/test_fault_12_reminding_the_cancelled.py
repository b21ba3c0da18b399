"""Fault 12 of the peer: reminding a cancelled assignment answered 200, as if it had been done."""

import pytest

from bursary.access.models import Role
from bursary.assignments.cancellation import cancel
from tests.api.door import door_of
from tests.world import NOW, given_assignment, timeline

pytestmark = pytest.mark.django_db


def test_fault_12_reminding_a_cancelled_assignment_is_refused_by_name() -> None:
    assignment = given_assignment()
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    before = timeline(assignment)

    door = door_of(Role.ADMINISTRATOR, customer=assignment.budget.customer)
    answer = door.remind(assignment.budget, assignment.uuid)

    assert answer.status_code == 422
    assert [(one["reason"], one["user_message"]) for one in answer.json()] == [
        ("not_remindable", "This assignment is cancelled.")
    ]
    assert timeline(assignment) == before
