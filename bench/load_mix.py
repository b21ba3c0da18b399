"""The requests that `bench/load.py` sends, to a budget that it fills."""

import json
from typing import Any

from django.urls import reverse
from django.utils import timezone

from bench.lists import Stage
from bench.load import LIST
from bench.load_client import NEW
from bursary.access.models import Role, User
from tests import world

LEARNERS = 50
NAMED = 2_000
"""Assignments that requests name."""


def mix(assignments: int) -> list[dict[str, Any]]:
    """Fill a budget, and return the requests to it: their weights, addresses, bodies and headers."""
    listed = Stage(assignments)
    budget, waiting = listed.budget, listed.rows.filter(state="allocated")
    remindable = waiting.filter(learner_state=1, expires_at__gt=timezone.now())
    named = [str(one) for one in remindable.values_list("uuid", flat=True)[:NAMED]]
    emails = waiting.filter(learner_email__startswith="learner-").values_list("learner_email", flat=True)
    course = budget.assignments.order_by("pk").values_list("content_key", flat=True)[0]

    ada = _signed_in(User.objects.get(pk=listed.client.session["_auth_user_id"]))
    in_browser = {"Cookie": f"sessionid={listed.client.cookies['sessionid'].value}"}
    learners = [
        world.given_user(Role.LEARNER, customer=budget.customer, email=email) for email in emails[:LEARNERS]
    ]
    credits_of = f"{reverse('credits')}?enterprise_customer_uuid={budget.customer.uuid}"
    allocation = {
        "content_key": course,
        "content_price_cents": world.PRICE,
        "learner_emails": [f"{number}.{NEW}@load.example" for number in range(10)],
    }
    list_path, remind = listed.url, reverse("remind", args=[budget.assignment_configuration_uuid])
    found: dict[str, tuple[int, list[tuple[str, str, dict[str, str]]]]] = {
        LIST: (30, [(f"{list_path}?page_size=100&cursor={place}", "", ada) for place in ("", listed.deep())]),
        "credits": (30, [(credits_of, "", _signed_in(learner)) for learner in learners]),
        "one assignment": (20, [(f"{list_path}{uuid}/", "", ada) for uuid in named]),
        "dashboard, list": (10, [(f"/assignments/?budget={budget.uuid}", "", in_browser)]),
        "allocation to 10": (5, [(reverse("allocate", args=[budget.uuid]), json.dumps(allocation), ada)]),
        "reminder": (5, [(remind, json.dumps({"assignment_uuids": [uuid]}), ada) for uuid in named]),
    }
    return [
        {"name": name, "weight": weight, "requests": requests} for name, (weight, requests) in found.items()
    ]


def _signed_in(user: Any) -> dict[str, str]:
    """Return the headers of a user's requests."""
    return {"Authorization": f"Bearer {world.given_api_key(user)}", "Content-Type": "application/json"}
