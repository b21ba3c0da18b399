"""The learner acknowledges that an assignment was cancelled or expired: once for each of its cycles."""

from datetime import timedelta

import pytest

from bursary.assignments.acknowledgement import acknowledge
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment
from tests.world import ALICE, NOW, allocate, given_assignment, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)


def test_the_end_of_every_cycle_is_acknowledged_and_names_the_account() -> None:
    mine, alice, content = LearnerContentAssignment.objects.all(), given_user(), given_content()
    assignment = given_assignment(given_budget(), content)
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    assert acknowledge(mine, uuids=[assignment.uuid], now=NOW, actor=alice).acknowledged == [assignment]
    assert acknowledge(mine, uuids=[assignment.uuid], now=NOW, actor=alice).already == [assignment]

    allocate(assignment.budget, content, ALICE, now=LATER)
    assert acknowledge(mine, uuids=[assignment.uuid], now=LATER, actor=alice).refused == [assignment]
    cancel(assignment.budget, uuids=[assignment.uuid], now=LATER)
    assert acknowledge(mine, uuids=[assignment.uuid], now=LATER, actor=alice).acknowledged == [assignment]

    facts = assignment.actions.filter(action_type=ActionType.CANCELLED_ACKNOWLEDGED).order_by("cycle")
    assert list(facts.values_list("cycle", "completed_at", "actor")) == [
        (1, NOW, alice.pk),
        (2, LATER, alice.pk),
    ]
