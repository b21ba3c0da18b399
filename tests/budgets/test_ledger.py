"""The one door to the money: what is reserved, spent and free, in the budget and in its account alike."""

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from bursary.budgets import ledger
from bursary.budgets.ledger import InsufficientFunds, LedgerError
from bursary.budgets.models import Account, Budget, LedgerEntry, LedgerEntryState
from tests.world import NOW, given_budget, given_customer

pytestmark = pytest.mark.django_db

Cents = tuple[int, int]


def cents(pot: Account | Budget) -> Cents:
    """Return what is reserved and what is spent."""
    pot.refresh_from_db()
    return pot.reserved_cents, pot.spent_cents


def books(budget: Budget) -> Cents:
    """Return what is reserved and spent, having seen that the budget and its account agree."""
    assert cents(budget.account) == cents(budget)
    return cents(budget)


def reserve(budget: Budget, amount: int) -> None:
    with transaction.atomic():
        ledger.reserve(ledger.lock(budget.pk), cents=amount)


def two_of_one_account(*, limit: int | None) -> tuple[Budget, Budget]:
    customer = given_customer()
    account = Account.objects.create(customer=customer, name="Shared", limit_cents=limit)
    return (
        given_budget(customer=customer, account=account),
        given_budget(customer=customer, account=account, limit_cents=700),
    )


@pytest.mark.on_every_engine
def test_money_is_reserved_then_spent_then_restored() -> None:
    budget = given_budget(limit_cents=1000)
    reserve(budget, 600)
    assert books(budget) == (600, 0)
    spent = ledger.spend(budget, cents=200, key="first", now=NOW)
    assert books(budget) == (400, 200)
    assert (spent.cents, spent.state, spent.created_at) == (200, LedgerEntryState.COMMITTED, NOW)
    ledger.release(budget, cents=400)
    assert books(budget) == (0, 200)
    ledger.restore(spent, now=NOW)
    assert books(budget) == (0, 0)
    spent.refresh_from_db()
    assert (spent.state, spent.reversed_at) == (LedgerEntryState.REVERSED, NOW)


@pytest.mark.on_every_engine
def test_what_was_locked_is_brought_up_to_date() -> None:
    budget = given_budget(limit_cents=1000)
    with transaction.atomic():
        locked = ledger.lock(budget.pk)
        ledger.reserve(locked, cents=600)
        assert (locked.reserved_cents, locked.account.reserved_cents) == (600, 600)
        assert ledger.available_cents(locked) == 400
        ledger.reserve(locked, cents=100)
        assert (locked.reserved_cents, locked.account.reserved_cents) == (700, 700)


def test_the_last_cent_can_be_reserved_and_no_more() -> None:
    budget = given_budget(limit_cents=1000)
    reserve(budget, 1000)
    with pytest.raises(InsufficientFunds) as short:
        reserve(budget, 1)
    assert short.value == InsufficientFunds("policy_spend_limit_reached", 1, 0)
    budget.refresh_from_db()
    assert ledger.available_cents(budget) == 0
    assert str(short.value) == "This costs $0.01; $0.00 is available."
    assert books(budget) == (1000, 0)


def test_what_is_spent_counts_as_much_as_what_is_reserved() -> None:
    budget = given_budget(limit_cents=1000)
    reserve(budget, 600)
    ledger.spend(budget, cents=600, key="first", now=NOW)
    with pytest.raises(InsufficientFunds):
        reserve(budget, 401)
    reserve(budget, 400)
    assert books(budget) == (400, 600)


def test_without_a_limit_everything_fits() -> None:
    budget = given_budget()
    reserve(budget, 10**15)
    budget.refresh_from_db()
    assert books(budget) == (10**15, 0)
    assert ledger.available_cents(budget) is None


def test_nothing_can_always_be_reserved_also_where_too_much_is() -> None:
    budget = given_budget(limit_cents=1000)
    reserve(budget, 1000)
    Budget.objects.update(limit_cents=10)
    reserve(budget, 0)
    with pytest.raises(InsufficientFunds) as short:
        reserve(budget, 1)
    assert short.value.available_cents == 0
    assert books(budget) == (1000, 0)


def test_budgets_of_one_account_share_its_limit() -> None:
    first, second = two_of_one_account(limit=1000)
    reserve(first, 600)
    second.account.refresh_from_db()
    assert ledger.available_cents(second) == 400
    with pytest.raises(InsufficientFunds) as short:
        reserve(second, 401)
    assert short.value == InsufficientFunds("not_enough_value_in_subsidy", 401, 400)
    reserve(second, 400)
    assert (cents(first), cents(second), cents(first.account)) == ((600, 0), (400, 0), (1000, 0))


def test_where_both_are_too_small_the_account_is_named() -> None:
    _first, second = two_of_one_account(limit=500)
    short = ledger.shortage(second, cents=800)
    assert short == InsufficientFunds("not_enough_value_in_subsidy", 800, 500)
    assert ledger.shortage(second, cents=500) is None


def test_spending_in_one_budget_leaves_the_others_alone() -> None:
    first, second = two_of_one_account(limit=None)
    reserve(first, 100)
    reserve(second, 200)
    ledger.spend(first, cents=100, key="first", now=NOW)
    assert (cents(first), cents(second), cents(first.account)) == ((0, 100), (200, 0), (200, 100))


@pytest.mark.on_every_engine
def test_the_same_key_spends_once() -> None:
    budget = given_budget(limit_cents=1000)
    reserve(budget, 600)
    first = ledger.spend(budget, cents=200, key="first", now=NOW)
    again = ledger.spend(budget, cents=200, key="first", now=NOW)
    assert again == first
    assert books(budget) == (400, 200)
    assert ledger.spend(budget, cents=200, key="second", now=NOW) != first
    assert books(budget) == (200, 400)


@pytest.mark.on_every_engine
def test_a_key_is_not_taken_for_another_amount_or_budget() -> None:
    first, second = two_of_one_account(limit=None)
    reserve(first, 500)
    reserve(second, 500)
    ledger.spend(first, cents=200, key="key", now=NOW)
    with pytest.raises(LedgerError, match="200 cents"):
        ledger.spend(first, cents=201, key="key", now=NOW)
    with pytest.raises(LedgerError):
        ledger.spend(second, cents=200, key="key", now=NOW)
    assert (cents(first), cents(second)) == ((300, 200), (500, 0))


def test_the_key_of_a_reversed_transaction_spends_nothing_again() -> None:
    budget = given_budget()
    reserve(budget, 400)
    spent = ledger.spend(budget, cents=200, key="first", now=NOW)
    ledger.restore(spent, now=NOW)
    assert ledger.spend(budget, cents=200, key="first", now=NOW).state == LedgerEntryState.REVERSED
    assert books(budget) == (200, 0)


def test_more_than_is_reserved_is_neither_spent_nor_released() -> None:
    budget = given_budget()
    reserve(budget, 100)
    with pytest.raises(LedgerError, match="Fewer than 101 cents are reserved"):
        ledger.spend(budget, cents=101, key="first", now=NOW)
    with pytest.raises(LedgerError), transaction.atomic():
        ledger.release(budget, cents=101)
    assert books(budget) == (100, 0)
    assert not LedgerEntry.objects.exists()


def test_what_another_budget_holds_is_not_released() -> None:
    """The account has enough of it; the budget has not. Neither moves."""
    first, second = two_of_one_account(limit=None)
    reserve(first, 500)
    with pytest.raises(LedgerError), transaction.atomic():
        ledger.release(second, cents=100)
    assert (cents(first), cents(second), cents(first.account)) == ((500, 0), (0, 0), (500, 0))


@pytest.mark.on_every_engine
def test_a_transaction_is_reversed_once() -> None:
    budget = given_budget()
    reserve(budget, 400)
    other = ledger.spend(budget, cents=200, key="other", now=NOW)
    spent = ledger.spend(budget, cents=200, key="first", now=NOW)
    ledger.restore(spent, now=NOW)
    with pytest.raises(LedgerError, match="not committed"):
        ledger.restore(spent, now=NOW)
    other.refresh_from_db()
    assert other.state == LedgerEntryState.COMMITTED
    assert books(budget) == (0, 200)


def test_more_than_was_spent_is_not_restored() -> None:
    budget = given_budget()
    reserve(budget, 200)
    spent = ledger.spend(budget, cents=200, key="first", now=NOW)
    Budget.objects.update(spent_cents=100)
    with pytest.raises(LedgerError, match="Fewer than 200"):
        ledger.restore(spent, now=NOW)
    spent.refresh_from_db()
    assert spent.state == LedgerEntryState.COMMITTED
    assert (cents(budget), cents(budget.account)) == ((0, 100), (0, 200))


@pytest.mark.parametrize("spent", [0, 900])
@pytest.mark.on_every_engine
def test_a_reservation_on_a_stale_row_does_not_overspend(spent: int) -> None:
    """Without the lock, a stale row says that it fits; the condition in the statement refuses."""
    budget = given_budget(limit_cents=1000)
    stale = Budget.objects.select_related("account").get()
    reserve(budget, 900)
    if spent:
        ledger.spend(budget, cents=spent, key="first", now=NOW)
    with pytest.raises(LedgerError, match="do not fit"), transaction.atomic():
        ledger.reserve(stale, cents=200)
    assert books(budget) == (900 - spent, spent)


@pytest.mark.on_every_engine
def test_locking_a_budget_brings_its_account() -> None:
    budget = given_budget()
    with transaction.atomic():
        locked = ledger.lock(budget.pk)
        assert (locked, locked.account) == (budget, budget.account)
    with pytest.raises(Account.DoesNotExist), transaction.atomic():
        ledger.lock(budget.pk + 1)


@pytest.mark.needs_row_locks
@pytest.mark.on_every_engine
def test_the_account_is_locked_before_its_budget(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    budget = given_budget()
    with django_assert_num_queries(2) as queries:
        ledger.lock(budget.pk)
    first, second = (query["sql"].replace("`", '"') for query in queries.captured_queries)
    assert first.startswith('SELECT "budgets_account"')
    assert second.startswith('SELECT "budgets_budget"')
    lock = "FOR NO KEY UPDATE" if connection.vendor == "postgresql" else "FOR UPDATE"
    assert first.endswith(lock)
    assert second.endswith(lock)


@pytest.mark.parametrize(("limit", "own", "shown"), [(900, 700, 700), (900, None, 900), (None, 0, 0)])
def test_a_budget_is_shown_with_its_own_limit_or_else_its_accounts(
    limit: int | None, own: int | None, shown: int
) -> None:
    account = Account(limit_cents=limit)
    assert ledger.limit_cents(Budget(account=account, limit_cents=own)) == shown
    assert ledger.limit_cents(Budget(account=Account(limit_cents=None), limit_cents=None)) is None
