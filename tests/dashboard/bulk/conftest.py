"""A budget with five learners, to be worked on together by their administrator."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.budgets.models import Budget
from tests import world
from tests.dashboard.bulk.forms import given_five_notified
from tests.once import made_once


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(hours=1))


@pytest.fixture(scope="module", autouse=True)
def _notified(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A budget with five learners, notified a while ago."""
    with made_once(django_db_blocker):
        given_five_notified()
        yield


@pytest.fixture
def budget(client: Client) -> Budget:
    """That budget; its administrator is signed in."""
    budget = Budget.objects.get()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    return budget
