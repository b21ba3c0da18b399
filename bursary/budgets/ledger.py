"""The embedded ledger: the only module that moves money.

Four movements, each one conditional UPDATE of the account and one of the budget, in the caller's transaction:
reserve (for an open assignment), release (it ended), spend (it was accepted), restore (it was reversed).
Locks are taken in one order everywhere: account, then budget, ascending keys.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import models, transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext

from bursary.budgets.models import Account, Budget, LedgerEntry, LedgerEntryState
from bursary.lib.locks import for_update
from bursary.lib.money import dollars
from bursary.lib.prepared import Parameter, PreparedSelect, PreparedUpdate


class LedgerError(Exception):
    """The request contradicts the ledger. No money was moved."""

    reason = "ledger_error"


@dataclass
class InsufficientFunds(Exception):
    """Less money is available than requested. None was reserved.

    `reason` is the value on the wire for the limit that would be exceeded: the budget's or the account's.
    """

    reason: str
    requested_cents: int
    available_cents: int

    def __str__(self) -> str:
        amounts = {"cost": dollars(self.requested_cents), "available": dollars(self.available_cents)}
        return gettext("This costs %(cost)s; %(available)s is available.") % amounts


def lock(budget_pk: int) -> Budget:
    """Lock the budget and its account until the transaction ends; return the budget, with its account."""
    account = _ACCOUNT.get(budget=budget_pk)
    budget: Budget = _BUDGET.get(budget=budget_pk)
    budget.account = account
    return budget


_THE_BUDGET = Budget.objects.filter(pk=Parameter("budget", Budget._meta.pk))
# By subquery, not by join: a join would lock the budget first.
_ACCOUNT = PreparedSelect(lambda: for_update(Account.objects.filter(pk__in=_THE_BUDGET.values("account"))))
_BUDGET = PreparedSelect(lambda: for_update(_THE_BUDGET.all()))


def lock_all(budget_pks: Iterable[int]) -> None:
    """Lock several budgets and their accounts until the transaction ends: accounts first, ascending."""
    pks = sorted(budget_pks)
    list(
        for_update(
            Account.objects.filter(pk__in=Budget.objects.filter(pk__in=pks).values("account"))
        ).order_by("pk")
    )
    list(for_update(Budget.objects.filter(pk__in=pks)).order_by("pk"))


def shortage(budget: Budget, *, cents: int) -> InsufficientFunds | None:
    """Return why `cents` cannot be reserved, by the account's limit or the budget's; None if they can."""
    limits = ((budget.account, "not_enough_value_in_subsidy"), (budget, "policy_spend_limit_reached"))
    for limited, reason in limits:
        room = _room(limited)
        if room is not None and cents > max(room, 0):
            return InsufficientFunds(reason, requested_cents=cents, available_cents=max(room, 0))
    return None


def limit_cents(budget: Budget) -> int | None:
    """Return the limit to show for the budget: its own, else its account's; None without limits."""
    return budget.account.limit_cents if budget.limit_cents is None else budget.limit_cents


def available_cents(budget: Budget) -> int | None:
    """Return the cents that can still be reserved within both limits; None without limits."""
    rooms = [room for limited in (budget, budget.account) if (room := _room(limited)) is not None]
    return max(0, min(rooms)) if rooms else None


def reserve(budget: Budget, *, cents: int) -> None:
    """Reserve `cents` for open assignments, with the budget locked by `lock`.

    Raises InsufficientFunds if the budget's limit or the account's would be exceeded. A limit that was
    lowered below the reserved amount only prevents new reservations.
    """
    if short := shortage(budget, cents=cents):
        raise short
    if cents == 0:
        return
    for prepared, pk in zip(_RESERVE, (budget.account_id, budget.pk), strict=True):
        # With the lock this always succeeds. The condition protects the limit from a caller without it.
        if not prepared.run(pk=pk, cents=cents):
            raise LedgerError(f"{cents} cents do not fit: the budget was not locked.")
    budget.account.reserved_cents += cents
    budget.reserved_cents += cents


def release(budget: Budget, *, cents: int) -> None:
    """Free reserved `cents`. Raises LedgerError if fewer are reserved."""
    _use_reserved(budget, cents=cents)


def spend(budget: Budget, *, cents: int, key: str, now: datetime) -> LedgerEntry:
    """Spend reserved `cents`, once for each idempotency `key`; return the entry, also of an earlier call.

    Raises LedgerError if the key was used for another amount or budget, or if fewer cents are reserved.
    """
    with transaction.atomic():
        lock(budget.pk)
        known = LedgerEntry.objects.filter(idempotency_key=key).first()
        if known is None:
            _use_reserved(budget, cents=cents, spend=True)
            return LedgerEntry.objects.create(budget=budget, idempotency_key=key, cents=cents, created_at=now)
        if (known.budget_id, known.cents) != (budget.pk, cents):
            raise LedgerError(f"Key {key} was used for {known.cents} cents of budget {known.budget_id}.")
        return known


def restore(spent: LedgerEntry, *, now: datetime) -> None:
    """Reverse a ledger entry, once. Raises LedgerError if it is not committed."""
    with transaction.atomic():
        budget = lock(spent.budget_id)
        reversed_now = LedgerEntry.objects.filter(pk=spent.pk, state=LedgerEntryState.COMMITTED).update(
            state=LedgerEntryState.REVERSED, reversed_at=now
        )
        if not reversed_now:
            raise LedgerError(f"Ledger entry {spent.uuid} is not committed.")
        for rows in Account.objects.filter(pk=budget.account_id), Budget.objects.filter(pk=budget.pk):
            enough = rows.filter(spent_cents__gte=spent.cents)
            if not enough.update(spent_cents=F("spent_cents") - spent.cents):
                raise LedgerError(f"Fewer than {spent.cents} cents are spent.")


def _use_reserved(budget: Budget, *, cents: int, spend: bool = False) -> None:
    with transaction.atomic(savepoint=False):
        for prepared, pk in zip(_SPEND if spend else _RELEASE, (budget.account_id, budget.pk), strict=True):
            if not prepared.run(pk=pk, cents=cents):
                raise LedgerError(f"Fewer than {cents} cents are reserved.")


_PK, _CENTS = Parameter("pk", models.BigAutoField()), Parameter("cents", models.BigIntegerField())
_RESERVED, _SPENT = F("reserved_cents"), F("spent_cents")


def _movements(condition: Q, **moved: Any) -> tuple[PreparedUpdate, PreparedUpdate]:
    """Return the updates of one account and one budget that move money if the condition holds."""

    def move(model: type[Account | Budget]) -> tuple[QuerySet[Any], dict[str, Any]]:
        return model._default_manager.filter(condition, pk=_PK), moved

    account, budget = (PreparedUpdate(partial(move, model)) for model in (Account, Budget))
    return account, budget


_ARE_RESERVED = Q(reserved_cents__gte=_CENTS)
_RESERVE = _movements(
    Q(limit_cents=None) | Q(limit_cents__gte=_RESERVED + _SPENT + _CENTS), reserved_cents=_RESERVED + _CENTS
)
_RELEASE = _movements(_ARE_RESERVED, reserved_cents=_RESERVED - _CENTS)
_SPEND = _movements(_ARE_RESERVED, reserved_cents=_RESERVED - _CENTS, spent_cents=_SPENT + _CENTS)


def _room(limited: Account | Budget) -> int | None:
    """Return the cents left below the limit, negative if the limit was lowered; None without a limit."""
    if limited.limit_cents is None:
        return None
    return limited.limit_cents - limited.reserved_cents - limited.spent_cents
