"""One update that writes other values to other rows."""

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from bursary.budgets.models import Budget
from bursary.lib import updates
from tests.world import given_budget

pytestmark = pytest.mark.django_db


def test_each_row_gets_the_value_of_its_key_and_others_the_default() -> None:
    first, second, third = (given_budget(name="before") for _ in range(3))
    values = {first.pk: "one", second.pk: "two"}

    Budget.objects.update(name=updates.by_key(values, default=F("name")))

    assert [Budget.objects.get(pk=one.pk).name for one in (first, second, third)] == ["one", "two", "before"]


def test_another_column_may_be_the_key() -> None:
    first, second = given_budget(), given_budget()
    given_budget(name="before")
    values = {first.account_id: "one", second.account_id: "two"}

    Budget.objects.filter(account__in=values).update(name=updates.by_key(values, key="account"))

    assert list(Budget.objects.order_by("pk").values_list("name", flat=True)) == ["one", "two", "before"]


def test_there_is_one_branch_a_value() -> None:
    pks = [given_budget().pk for _ in range(10)]
    values = {pk: "odd" if pk % 2 else "even" for pk in pks}

    with CaptureQueriesContext(connection) as asked:
        Budget.objects.filter(pk__in=pks).update(name=updates.by_key(values))

    assert [one["sql"].count("WHEN") for one in asked] == [2]
