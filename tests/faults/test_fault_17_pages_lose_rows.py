"""Fault 17 of the peer: orderings without a tie-breaker lost rows between pages: 857 of 1,000 were served."""

import pytest
from django.test import Client

from bursary.access.models import Role
from bursary.assignments.listing import ORDERINGS
from tests.world import addresses, allocate, given_api_key, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

ROWS, PAGE = 12, 5


def test_fault_17_every_ordering_serves_every_row_once(client: Client) -> None:
    budget = given_budget()
    allocate(budget, given_content(), *addresses(ROWS))
    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    headers = {"Authorization": f"Bearer {given_api_key(ada)}"}
    configuration = budget.assignment_configuration_uuid

    def served(ordering: str) -> list[str]:
        found: list[str] = []
        url = f"/api/v1/assignment-configurations/{configuration}/admin/assignments/"
        url += f"?page_size={PAGE}&ordering={ordering}"
        while url:
            body = client.get(url, headers=headers).json()
            found += [row["uuid"] for row in body["results"]]
            url = body["next"]
        return found

    for key in ORDERINGS:
        ascending, descending = served(key), served(f"-{key}")
        assert (len(ascending), len(set(ascending))) == (ROWS, ROWS), key
        # Nearly all rows have the same value: only a tie-breaker puts them in the opposite order.
        assert descending == ascending[::-1], key
