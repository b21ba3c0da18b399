"""API keys that are asked for at the same moment: never more than a user may have."""

from collections.abc import Callable
from functools import partial

import pytest
from django.test import Client

from bursary.access.models import ApiKey, Role
from bursary.dashboard.account_forms import MAX_KEYS
from tests.together import together
from tests.world import given_customer, given_user

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_two_keys_asked_for_at_once_only_the_last_that_is_allowed_is_made() -> None:
    user = given_user(Role.ADMINISTRATOR, customer=given_customer())
    for number in range(MAX_KEYS - 1):
        ApiKey.issue(user, name=f"key {number}")

    def ask(client: Client, name: str) -> int:
        return int(client.post("/account/", {"name": name, "scope": "read", "days": 30}).status_code)

    asked: list[Callable[[], int]] = []
    for name in ("one", "another"):
        client = Client()
        client.force_login(user)
        asked.append(partial(ask, client, name))

    assert sorted(str(answer) for answer in together(asked)) == ["200", "422"]
    assert ApiKey.objects.filter(user=user).count() == MAX_KEYS
