"""One organisation with its budget and its content, its administrator at the door, and a stopped clock."""

import pytest
from django.utils import timezone

from bursary.access.models import Role
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of
from tests.world import NOW, given_budget, given_content


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be NOW, whatever day the tests are run on."""
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.fixture
def budget() -> Budget:
    """Return a budget that pays for ten seats."""
    return given_budget(seats=10)


@pytest.fixture
def content() -> ContentMetadata:
    """Return a course in the budget's catalog."""
    return given_content()


@pytest.fixture
def door(budget: Budget) -> Door:
    """Return the door as the budget's administrator finds it."""
    return door_of(Role.ADMINISTRATOR, customer=budget.customer)
