"""Charts as bars by week: whole numbers for an SVG, with their figures for the table beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Case, IntegerField, Value, When

WEEKS = 13
HEIGHT, BAR, GAP = 100, 10, 3  # of the SVG's own units


@dataclass(frozen=True)
class ChartPart:
    """A part of a bar: the name of its series, and the rectangle."""

    series: str
    x: int
    y: int
    height: int


@dataclass(frozen=True)
class ChartRow:
    """A week in the table of figures: its first day, and a number for each series."""

    begins: datetime
    numbers: Sequence[int]


@dataclass(frozen=True)
class BarChart:
    """Stacked bars, the first series at the bottom. `most` is the number of the highest bar; 0 for none."""

    parts: Sequence[ChartPart]
    rows: Sequence[ChartRow]
    most: int
    totals: Sequence[int]
    width: int = WEEKS * (BAR + GAP) - GAP
    height: int = HEIGHT
    bar: int = BAR


def week_starts(first: datetime, *, zone: ZoneInfo) -> list[datetime]:
    """Return the first instants of `WEEKS` weeks, the first of them with `first` in it."""
    local = first.astimezone(zone)
    monday = local.date() - timedelta(days=local.weekday())
    return [
        datetime.combine(monday + timedelta(weeks=number), time(), tzinfo=zone) for number in range(WEEKS)
    ]


def end_of(starts: Sequence[datetime]) -> datetime:
    """Return the end of the last week."""
    return starts[-1] + timedelta(weeks=1)


def period_of(column: str, starts: Sequence[datetime], *, before: int = 0) -> Case:
    """Return the number of the period that a row belongs to, as SQL: the last one that begins before it.

    `before` is that of a row before the first one, or without a date.
    """
    return Case(
        *(When(**{f"{column}__gte": start}, then=Value(n)) for n, start in reversed([*enumerate(starts)])),
        default=Value(before),
        output_field=IntegerField(),
    )


def bar_chart(
    numbers: Mapping[tuple[int, str], int], *, series: Sequence[str], starts: Sequence[datetime]
) -> BarChart:
    """Return the chart of `numbers` by week and series."""
    rows = [
        ChartRow(start, [numbers.get((week, name), 0) for name in series])
        for week, start in enumerate(starts)
    ]
    most = max((sum(row.numbers) for row in rows), default=0)
    parts = []
    for week, row in enumerate(rows):
        below = 0
        for name, number in zip(series, row.numbers, strict=True):
            top = _scaled(below + number, most)
            height = top - _scaled(below, most)
            below += number
            if height:
                parts.append(ChartPart(name, week * (BAR + GAP), HEIGHT - top, height))
    totals: list[Any] = [sum(column) for column in zip(*(row.numbers for row in rows), strict=True)]
    return BarChart(parts, rows, most, totals)


def _scaled(number: int, most: int) -> int:
    return round(HEIGHT * number / most) if most else 0
