"""One organisation with its budget and its content, its administrator at the door, and a stopped clock."""

from collections.abc import Iterator

import pytest
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.cast import given_cast
from tests.api.door import Door, door_of
from tests.once import made_once
from tests.world import NOW, given_budget, given_content


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be NOW, whatever day the tests are run on."""
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.fixture
def budget() -> Budget:
    """Return a budget that pays for ten seats."""
    return given_budget(seats=10)


@pytest.fixture(scope="module")
def budget_of_the_cast(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Budget]:
    """Return a budget with the four of `cast.py`, made once for a module; what a test adds is undone."""
    with made_once(django_db_blocker):
        budget = given_budget(seats=10)
        given_cast(budget)
        yield budget


@pytest.fixture(scope="module")
def door_of_the_cast(budget_of_the_cast: Budget) -> Door:
    """Return the door as that budget's administrator finds it, for a module that only reads."""
    return door_of(Role.ADMINISTRATOR, customer=budget_of_the_cast.customer)


@pytest.fixture
def content() -> ContentMetadata:
    """Return a course in the budget's catalog."""
    return given_content()


@pytest.fixture
def door(budget: Budget) -> Door:
    """Return the door as the budget's administrator finds it."""
    return door_of(Role.ADMINISTRATOR, customer=budget.customer)
