"""What carries out work that sends no mail."""

import pytest

from bursary.access.models import LearnerLink, Role, RoleGrant
from bursary.assignments.choices import Status
from tests.world import ALICE, deliver, given_assignment, given_user, link_as_work

pytestmark = pytest.mark.django_db


def test_a_link_that_an_earlier_release_requested_is_made_by_the_runner() -> None:
    assignment = given_assignment()
    alice, customer = given_user(email=ALICE), assignment.budget.customer
    link = link_as_work(assignment)
    deliver()
    link.refresh_from_db()
    made = LearnerLink.objects.get(customer=customer, learner_email=ALICE)
    assert (link.status, link.attempts, link.provider_ref) == (Status.DONE, 1, f"link:{made.pk}")
    grant = RoleGrant.objects.get()
    assert (grant.user, grant.role, grant.customer) == (alice, Role.LEARNER, customer)
