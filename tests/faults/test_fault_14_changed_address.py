"""Fault 14 of the peer: one learner with a changed address made a whole batch fail."""

import json

import pytest
from django.test import Client

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests.world import (
    BOB,
    CAROL,
    PRICE,
    allocate,
    given_api_key,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

OLD, NEW = "alice@before.example", "alice@after.example"


def test_fault_14_a_learner_known_under_another_address_is_recognised(client: Client) -> None:
    budget, content = given_budget(), given_content()
    alice = given_user(email=OLD, lms_user_id=7)
    allocate(budget, content, OLD)
    alice.email = NEW
    alice.save()
    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)

    answer = client.post(
        f"/api/v1/policy-allocation/{budget.uuid}/allocate/",
        json.dumps(
            {
                "content_key": content.content_key,
                "content_price_cents": PRICE,
                "learner_emails": [BOB, NEW, CAROL],
            }
        ),
        content_type="application/json",
        headers={"Authorization": f"Bearer {given_api_key(ada)}"},
    )

    assert answer.status_code == 202
    body = answer.json()
    assert [row["learner_email"] for row in body["created"]] == [BOB, CAROL]
    known = LearnerContentAssignment.objects.get(lms_user_id=7)
    assert [row["uuid"] for row in body["no_change"]] == [str(known.uuid)]
    assert [(row["position"], row["address"], row["assignment_uuid"]) for row in body["recognised"]] == [
        (1, NEW, str(known.uuid))
    ]
    assert LearnerContentAssignment.objects.count() == 3
    assert Budget.objects.get().reserved_cents == 3 * PRICE
