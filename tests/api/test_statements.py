"""What a request asks of the database does not grow with what it answers."""

from itertools import count

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.only_on("postgresql", because="others insert some rows a statement"),
]
_numbers = count(1)


def fresh(number: int) -> list[str]:
    """Return addresses that no learner has yet."""
    request = next(_numbers)
    return [f"l{one}.of-{request}@learners.example" for one in range(number)]


def test_an_allocation_takes_as_many_statements_for_200_as_for_one(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    Budget.objects.update(limit_cents=None)

    def statements(addresses: list[str], *, kind: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            answer = door.allocate(budget, content, *addresses)
        assert len(answer.json()[kind]) == len(addresses)
        return len(queries)

    statements(fresh(1), kind="created")  # the caller is counted for the first time
    few, many = fresh(1), fresh(200)
    assert statements(few, kind="created") == statements(many, kind="created")
    assert statements(few, kind="no_change") == statements(many, kind="no_change")


def test_an_api_key_and_its_user_take_one_statement(door: Door, budget: Budget) -> None:
    door.policy(budget.uuid)  # the hour of the key's use is kept
    with CaptureQueriesContext(connection) as queries:
        answer = door.policy(budget.uuid)
    assert answer.json()["uuid"] == str(budget.uuid)
    assert ["access_apikey" in one["sql"] for one in queries] == [True, False]
