"""Audits of the derived columns: their summary, sentence and table, and the daily sample."""

from datetime import datetime
from math import ceil
from uuid import UUID

from django.core.management.base import CommandError
from rich.console import RenderableType
from rich.markup import escape

from bursary.assignments import derived_audit
from bursary.assignments.derived_audit import DerivedAudit
from bursary.assignments.expected_values import DerivedDifference
from bursary.budgets.models import Budget
from bursary.lib.clock import Clock
from bursary.ops import console

SHARE_A_DAY = 0.01
MAX_A_DAY = 10_000
SHOWN = 50
"""Rows of the table for people; the JSON has all differences that the audit names."""


def budget_of(uuid: UUID | None) -> Budget | None:
    """Return the budget with this uuid; None without a uuid. Raises CommandError."""
    if uuid is None:
        return None
    try:
        return Budget.objects.get(uuid=uuid)
    except Budget.DoesNotExist as none:
        raise CommandError(f"There is no budget {uuid}.") from none


def daily(*, clock: Clock) -> DerivedAudit:
    """Audit the derived columns of a hundredth of the assignments, at most `MAX_A_DAY`."""
    size = min(ceil(derived_audit.count() * SHARE_A_DAY), MAX_A_DAY)
    return derived_audit.audit(clock=clock, sample=size)


def summary(audit: DerivedAudit) -> dict[str, object]:
    """Return an audit's result as plain values."""
    return {
        "looked_at": audit.looked_at,
        "wrong": audit.wrong,
        "columns": dict(sorted(audit.columns.items())),
        "differences": [
            {
                "assignment": one.assignment,
                "state": one.state,
                "column": one.column,
                "stored": one.stored,
                "truth": one.expected,
            }
            for one in audit.differences
        ],
    }


def sentence(audit: DerivedAudit) -> str:
    """Return an audit's result in one line."""
    which = ", ".join(f"{column} in {count}" for column, count in sorted(audit.columns.items()))
    return f"{audit.looked_at} compared, {audit.wrong} wrong{f': {which}' if which else ''}."


def table(differences: list[DerivedDifference]) -> RenderableType:
    """Return the first `SHOWN` differences as a table."""
    made = console.table("assignment", "state", "column", "stored", "expected")
    for one in differences[:SHOWN]:
        made.add_row(str(one.assignment), one.state, one.column, _cell(one.stored), _cell(one.expected))
    return made


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return escape(repr(value)) if isinstance(value, str) else escape(str(value))
