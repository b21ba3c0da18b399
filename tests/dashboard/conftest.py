"""An administrator at the page on which they assign."""

import pytest
from django.test import Client

from bursary.access.models import Role
from bursary.budgets.models import Budget
from tests import world
from tests.dashboard.desk import Desk


@pytest.fixture
def budget() -> Budget:
    return world.given_budget(seats=3, name="Languages")


@pytest.fixture
def desk(client: Client, budget: Budget) -> Desk:
    return Desk(client, budget, world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
