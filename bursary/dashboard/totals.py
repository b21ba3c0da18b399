"""The totals of the list's assignments: by budget, and by the month of their end or allocation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, F, Sum
from django.http import QueryDict

from bursary.assignments import statuses
from bursary.dashboard import assignment_list, charts
from bursary.dashboard.assignment_filters import MAX_BUDGETS, Selection

MAX_MONTHS = 36


@dataclass(frozen=True)
class TotalLine:
    """A total: the number of assignments, and their prices in cents."""

    count: int
    cents: int
    name: str = ""
    """The budget's name."""
    query: str = ""
    """The query string that lists only these assignments."""
    month: date | None = None
    """The month's first day."""


@dataclass(frozen=True)
class Totals:
    """The totals of a list: budgets with the greatest first, months with the latest first."""

    all: TotalLine
    by_budget: Sequence[TotalLine]
    other_budgets: TotalLine | None
    """The total of the budgets after the first `MAX_BUDGETS`; None if there are none."""
    by_month: Sequence[TotalLine]
    """The line without a month has earlier assignments, and assignments without a date."""
    by_closing: bool
    """Whether months are by when assignments were accepted or ended; otherwise they are by allocation."""


def load(chosen: Selection, query: QueryDict, *, now: datetime) -> Totals:
    """Return the totals of the assignments that `query` finds.

    One query, which reads all of them; a second one if they are of several budgets.
    """
    by_closing = bool(chosen.status in statuses.CLOSED or query.get("ended_from") or query.get("ended_to"))
    rows = chosen.rows.order_by()
    starts = month_starts(now, zone=chosen.zone)
    at = statuses.closed_at_column(chosen.status) if by_closing else F("allocated_at")
    months: Any = rows.alias(at=at).values_list(charts.PeriodOf("at", starts))
    months = months.annotate(count=Count("*"), cents=Sum("price_cents"))
    by_month = [
        TotalLine(count, cents, month=None if number < 0 else starts[number].date())
        for number, count, cents in sorted(months, reverse=True)
    ]
    everything = TotalLine(sum(one.count for one in by_month), sum(one.cents for one in by_month))
    found = _of_budgets(chosen, query, everything)
    others = everything.count - sum(one.count for one in found)
    rest = TotalLine(others, everything.cents - sum(one.cents for one in found)) if others else None
    return Totals(everything, found, rest, by_month, by_closing)


def _of_budgets(chosen: Selection, query: QueryDict, everything: TotalLine) -> list[TotalLine]:
    """Return the totals of at most `MAX_BUDGETS` budgets; a single budget has the total of all, unqueried."""
    found: Any = []
    if chosen.budget and everything.count:
        found = [(chosen.budget.name, chosen.budget.uuid, everything.count, everything.cents)]
    elif not chosen.budget:
        budgets: Any = chosen.rows.order_by().values_list("budget__name", "budget__uuid")
        budgets = budgets.annotate(count=Count("*"), cents=Sum("price_cents"))
        found = budgets.order_by("-cents", "budget__name", "budget__uuid")[:MAX_BUDGETS]
    return [
        TotalLine(count, cents, name, assignment_list.query_with(query, budget=str(uuid)))
        for name, uuid, count, cents in found
    ]


def month_starts(now: datetime, *, zone: ZoneInfo) -> list[datetime]:
    """Return the first instants of the last `MAX_MONTHS` months, up to this one."""
    today = now.astimezone(zone)
    this = today.year * 12 + today.month - 1
    months = range(this - MAX_MONTHS + 1, this + 1)
    return [datetime.combine(date(one // 12, one % 12 + 1, 1), time(), tzinfo=zone) for one in months]
