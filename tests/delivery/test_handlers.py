"""Linking learners to the customer, embedded."""

from datetime import timedelta

import pytest

from bursary.access.models import LearnerLink, Role, RoleGrant, learner_key
from tests.world import ALICE, NOW, allocate, deliver, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db


def test_a_learner_without_an_account_is_linked_by_address() -> None:
    budget = given_budget()
    allocate(budget, given_content(), ALICE)
    deliver()
    link = LearnerLink.objects.get()
    assert (link.customer, link.learner_email, link.learner_key) == (
        budget.customer,
        ALICE,
        learner_key(ALICE),
    )
    assert not RoleGrant.objects.exists()


def test_a_learner_with_an_account_gets_the_role() -> None:
    alice, budget = given_user(email=ALICE.upper()), given_budget()
    allocate(budget, given_content(), ALICE)
    deliver()
    grant = RoleGrant.objects.get()
    assert (grant.user, grant.role, grant.customer) == (alice, Role.LEARNER, budget.customer)


def test_linking_again_changes_nothing() -> None:
    given_user(email=ALICE)
    budget = given_budget()
    for day in range(2):
        allocate(budget, given_content(), ALICE, now=NOW + timedelta(days=day))
    deliver(now=NOW + timedelta(days=2))
    assert (LearnerLink.objects.count(), RoleGrant.objects.count()) == (1, 1)
