"""A budget's money as a bar: spent, reserved and free, in cents and in percent of the bar."""

from dataclasses import dataclass

from bursary.budgets import ledger
from bursary.budgets.models import Budget


@dataclass(frozen=True)
class MoneyBar:
    """Amounts in cents; None is unlimited. Widths are percentages of the whole, together at most 100."""

    limit_cents: int | None
    """The budget's own limit."""
    whole_cents: int | None
    """The amount that the budget has or can get: its account may have less than its limit."""
    spent_cents: int
    reserved_cents: int
    free_cents: int | None
    spent_width: int
    reserved_width: int


def money_bar(budget: Budget) -> MoneyBar:
    """Return the bar of a budget that is loaded with its account, which may leave less than its limit."""
    free = ledger.available_cents(budget)
    spent, reserved = budget.spent_cents, budget.reserved_cents
    whole = None if free is None else max(spent + reserved + free, 1)
    spent_width = _hundredths(spent, whole)
    return MoneyBar(
        limit_cents=budget.limit_cents,
        whole_cents=whole,
        spent_cents=spent,
        reserved_cents=reserved,
        free_cents=free,
        spent_width=spent_width,
        reserved_width=min(_hundredths(reserved, whole), 100 - spent_width),
    )


def _hundredths(cents: int, whole: int | None) -> int:
    """Return the rounded percentage; at least 1 for an amount that is not zero."""
    if not whole or not cents:
        return 0
    return min(max(round(100 * cents / whole), 1), 100)
