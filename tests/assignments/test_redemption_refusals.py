"""Why a learner cannot accept an assignment, and what they can do next."""

from datetime import timedelta

import pytest

from bursary.assignments import matching, redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.declining import decline
from bursary.assignments.models import LearnerContentAssignment
from tests.world import ALICE, BOB, CAROL, NOW, allocate, given_assignment, given_budget, given_content

pytestmark = pytest.mark.django_db


def test_what_has_ended_names_the_next_step() -> None:
    assignment = given_assignment()
    refused = redemption.refusal(assignment, now=assignment.expires_at)
    assert refused
    assert refused.next_step == "To take it after all, ask your organisation to assign it again."


def test_only_what_was_declined_in_this_cycle_and_was_asked_about_counts_as_declined() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB, CAROL)
    alices, bobs, carols = LearnerContentAssignment.objects.order_by("pk")
    for one in (bobs, carols):
        decline(one, reason="", now=NOW + timedelta(minutes=1))
    cancel(budget, uuids=[alices.uuid], now=NOW)
    alices, bobs, carols = LearnerContentAssignment.objects.order_by("pk")

    assert matching.which_declined([alices, bobs]) == {bobs.pk}
    assert matching.which_declined([alices]) == set()
