"""The one door to the money: the embedded ledger.

Four movements, each one conditional UPDATE an account and a budget, inside the caller's transaction:
hold (for an open assignment), release (it ended), spend (it was accepted), restore (it was reversed).
Locks are taken in one order everywhere: account, then budget, ascending keys.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q, QuerySet

from bursary.budgets.models import Account, Budget, LedgerEntry, LedgerEntryState
from bursary.lib.locks import for_update


class LedgerError(Exception):
    """The ledger's books and a request do not agree. Nothing was moved."""

    reason = "ledger_error"


@dataclass
class InsufficientFunds(Exception):
    """There is less money than was asked for. Nothing was held.

    `reason` is the clients' word for which pot is too small: the budget's own limit, or the account's.
    """

    reason: str
    requested_cents: int
    available_cents: int

    def __str__(self) -> str:
        return f"{self.requested_cents} cents were asked for and {self.available_cents} are available."


def lock(budget_pk: int) -> Budget:
    """Return the budget with its account, both locked until the transaction ends.

    Not against rows that refer to them (PostgreSQL's NO KEY): whoever writes such a row has a lock of it that
    this one would wait for, out of order.
    """
    # By subquery, not by join: a join would lock the budget first.
    of_the_budget = Budget.objects.filter(pk=budget_pk).values("account")
    account = for_update(Account.objects.all()).get(pk__in=of_the_budget)
    budget = for_update(Budget.objects.all()).get(pk=budget_pk)
    budget.account = account
    return budget


def shortage(budget: Budget, *, cents: int) -> InsufficientFunds | None:
    """Return why `cents` cannot be held, by the account's limit or the budget's; None where they can."""
    pots = (
        (budget.account, "not_enough_value_in_subsidy"),
        (budget, "policy_spend_limit_reached"),
    )
    for pot, reason in pots:
        room = _room(pot)
        if room is not None and cents > max(room, 0):
            return InsufficientFunds(reason, requested_cents=cents, available_cents=max(room, 0))
    return None


def available_cents(budget: Budget) -> int | None:
    """Return what may still be held, by the budget's limit and its account's; None where neither has one."""
    rooms = [room for pot in (budget, budget.account) if (room := _room(pot)) is not None]
    return max(0, min(rooms)) if rooms else None


def hold(budget: Budget, *, cents: int) -> None:
    """Reserve `cents` for open assignments, with the budget locked by `lock`.

    Raises InsufficientFunds where the budget's limit or the account's would be passed; a limit that was
    lowered below what is already held refuses new money and touches nothing else.
    """
    if short := shortage(budget, cents=cents):
        raise short
    if cents == 0:
        return
    fits = Q(limit_cents=None) | Q(limit_cents__gte=F("held_cents") + F("spent_cents") + cents)
    for pots in _pots(budget):
        # The lock makes this certain; the condition keeps it true for whoever forgets the lock.
        if not pots.filter(fits).update(held_cents=F("held_cents") + cents):
            raise LedgerError(f"{cents} cents do not fit, although they did a moment ago.")
    for pot in (budget.account, budget):
        pot.held_cents += cents


def release(budget: Budget, *, cents: int) -> None:
    """Free `cents` that were held. Raises LedgerError if fewer are held."""
    _move_held(budget, cents=cents, spend=False)


def spend(budget: Budget, *, cents: int, key: str, now: datetime) -> LedgerEntry:
    """Turn `cents` held into `cents` spent, once for each idempotency `key` however often it is called.

    Raises LedgerError if the key was used for another amount or budget, or if fewer cents are held.
    """
    with transaction.atomic():
        lock(budget.pk)
        known = LedgerEntry.objects.filter(idempotency_key=key).first()
        if known is None:
            _move_held(budget, cents=cents, spend=True)
            return LedgerEntry.objects.create(budget=budget, idempotency_key=key, cents=cents, created_at=now)
        if (known.budget_id, known.cents) != (budget.pk, cents):
            raise LedgerError(f"Key {key} was used for {known.cents} cents of budget {known.budget_id}.")
        return known


def restore(spent: LedgerEntry, *, now: datetime) -> None:
    """Give back what a transaction spent, once. Raises LedgerError if it is not committed."""
    with transaction.atomic():
        budget = lock(spent.budget_id)
        reversed_now = LedgerEntry.objects.filter(pk=spent.pk, state=LedgerEntryState.COMMITTED).update(
            state=LedgerEntryState.REVERSED, reversed_at=now
        )
        if not reversed_now:
            raise LedgerError(f"Transaction {spent.uuid} is not committed.")
        for pots in _pots(budget):
            if not pots.filter(spent_cents__gte=spent.cents).update(
                spent_cents=F("spent_cents") - spent.cents
            ):
                raise LedgerError(f"Fewer than {spent.cents} cents are spent.")


def _pots(budget: Budget) -> tuple[QuerySet[Account], QuerySet[Budget]]:
    return Account.objects.filter(pk=budget.account_id), Budget.objects.filter(pk=budget.pk)


def _move_held(budget: Budget, *, cents: int, spend: bool) -> None:
    moved = {"held_cents": F("held_cents") - cents}
    if spend:
        moved["spent_cents"] = F("spent_cents") + cents
    with transaction.atomic(savepoint=False):
        for pots in _pots(budget):
            if not pots.filter(held_cents__gte=cents).update(**moved):
                raise LedgerError(f"Fewer than {cents} cents are held.")


def _room(pot: Account | Budget) -> int | None:
    """Return the cents below the pot's limit; negative where the limit was lowered; None without one."""
    return None if pot.limit_cents is None else pot.limit_cents - pot.held_cents - pot.spent_cents
