"""Customers, accounts, budgets, transactions: what the tables refuse, and when a budget is open."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import ProtectedError

from bursary.budgets import terms
from bursary.budgets.models import Account, Budget, Customer, LedgerEntry
from tests.world import CATALOG, NOW, given_budget, given_customer

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def negative() -> type[Exception]:
    """What a negative number is refused with: on MySQL its column is unsigned, and never holds it."""
    return DataError if connection.vendor == "mysql" else IntegrityError


@pytest.mark.parametrize("column", ["reserved_cents", "spent_cents"])
@pytest.mark.parametrize("pot", [Account, Budget])
@pytest.mark.on_every_engine
def test_no_pot_holds_or_has_spent_less_than_nothing(
    pot: type[Account] | type[Budget], column: str, negative: type[Exception]
) -> None:
    given_budget()
    with pytest.raises(negative), transaction.atomic():
        pot.objects.update(**{column: -1})


@pytest.mark.on_every_engine
def test_a_limit_is_not_negative(negative: type[Exception]) -> None:
    with pytest.raises(negative), transaction.atomic():
        given_budget(limit_cents=-1)


@pytest.mark.parametrize("ends_in", [timedelta(0), -DAY])
@pytest.mark.on_every_engine
def test_a_budget_ends_after_it_starts(ends_in: timedelta) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        given_budget(starts_at=NOW, ends_at=NOW + ends_in)


@pytest.mark.parametrize(
    "window",
    [{"starts_at": NOW}, {"ends_at": NOW}, {"starts_at": NOW, "ends_at": NOW + timedelta(microseconds=1)}],
    ids=["no end", "no start", "both"],
)
def test_a_budget_may_have_one_end_or_both(window: dict[str, Any]) -> None:
    assert given_budget(**window).pk


@pytest.mark.parametrize(
    ("starts_in", "ends_in", "is_open"),
    [
        (None, None, True),
        (timedelta(0), DAY, True),  # the first moment is in
        (-DAY, timedelta(0), False),  # the last is out
        (timedelta(microseconds=1), None, False),
        (None, timedelta(microseconds=1), True),
        (-2 * DAY, -DAY, False),
    ],
)
def test_a_budget_is_open_from_its_start_until_before_its_end(
    starts_in: timedelta | None, ends_in: timedelta | None, is_open: bool
) -> None:
    budget = Budget(
        starts_at=None if starts_in is None else NOW + starts_in,
        ends_at=None if ends_in is None else NOW + ends_in,
    )
    assert budget.open_at(NOW) is is_open


def test_a_budget_is_its_own_assignment_configuration_unless_another_is_given() -> None:
    own = uuid4()
    alone, apart = given_budget(), given_budget(assignment_configuration_uuid=own)
    assert alone.assignment_configuration_uuid == alone.uuid
    apart.save()
    assert Budget.objects.get(pk=apart.pk).assignment_configuration_uuid == own
    with pytest.raises(IntegrityError), transaction.atomic():
        given_budget(assignment_configuration_uuid=own)


def test_an_allocation_waits_ninety_days_unless_its_budget_says_otherwise() -> None:
    assert given_budget().allocation_age_days == 90
    assert given_budget(allocation_age_days=14).allocation_age_days == 14


@pytest.mark.parametrize("name", ["Europe/Madrid", "UTC", "America/Argentina/Buenos_Aires"])
def test_a_time_zone_is_one_of_the_known_ones(name: str) -> None:
    given_customer(time_zone=name).full_clean()


@pytest.mark.parametrize("name", ["Madrid", "", "europe/madrid", "../etc/passwd", "UTC+1"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        given_customer(time_zone=name).full_clean()
    assert list(refused.value.message_dict) == ["time_zone"]


@pytest.mark.on_every_engine
def test_a_slug_is_one_organisations() -> None:
    customer = given_customer()
    with pytest.raises(IntegrityError), transaction.atomic():
        Customer.objects.create(slug=customer.slug, name="Another")


@pytest.mark.on_every_engine
def test_nothing_that_money_was_spent_on_is_deleted() -> None:
    budget = given_budget()
    LedgerEntry.objects.create(budget=budget, idempotency_key="k", cents=1, created_at=NOW)
    for row in (budget, budget.account, budget.customer):
        with pytest.raises(ProtectedError):
            row.delete()


@pytest.mark.on_every_engine
def test_an_idempotency_key_is_one_transactions() -> None:
    budget = given_budget()
    LedgerEntry.objects.create(budget=budget, idempotency_key="k", cents=1, created_at=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        LedgerEntry.objects.create(budget=given_budget(), idempotency_key="k", cents=1, created_at=NOW)


def test_rows_are_printed_by_their_names_and_transactions_by_their_uuid() -> None:
    budget = given_budget(name="Crafts", catalog_uuid=CATALOG)
    spent = LedgerEntry(budget=budget)
    assert (str(budget), str(budget.account)) == ("Crafts", "Learning 2026")
    assert str(budget.customer) == "Larkspur Logistics"
    assert str(spent) == str(spent.uuid)


@pytest.mark.parametrize(
    "term",
    [
        {"allocation_age_days": 3651},
        {"remind_days_after": "9" * 5000},
        {"ends_at": datetime(9999, 12, 31, tzinfo=UTC)},
        {"starts_at": datetime(1, 1, 1, tzinfo=UTC)},
    ],
)
def test_terms_with_which_no_calendar_could_reckon_are_refused(term: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        terms.change(given_budget(), now=NOW, terms=term)


@pytest.mark.on_every_engine
def test_another_customers_account_is_refused() -> None:
    budget = given_budget()
    budget.account = given_budget().account
    with pytest.raises(ValidationError, match="another customer"):
        budget.full_clean()
