"""Bar charts by week: whole numbers for an SVG, and the figures for the table beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Func, IntegerField
from django.db.models.sql.compiler import SQLCompiler

WEEKS = 13
HEIGHT, BAR, GAP = 100, 10, 3  # units of the SVG


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
    width: int
    height: int = HEIGHT
    bar: int = BAR


def week_starts(first: datetime, *, zone: ZoneInfo, weeks: int = WEEKS) -> list[datetime]:
    """Return the first instants of so many weeks, the first of them with `first` in it."""
    local = first.astimezone(zone)
    monday = local.date() - timedelta(days=local.weekday())
    return [
        datetime.combine(monday + timedelta(weeks=number), time(), tzinfo=zone) for number in range(weeks)
    ]


def end_of(starts: Sequence[datetime]) -> datetime:
    """Return the end of the last week."""
    return starts[-1] + timedelta(weeks=1)


class PeriodOf(Func):
    """The number of the period that contains an instant: the last period that begins at or before it.

    It is -1 before the first period, and for NULL.
    """

    output_field = IntegerField()

    def __init__(self, instant: str, starts: Sequence[datetime]) -> None:
        super().__init__(instant)
        self.starts = starts

    def as_sql(self, compiler: SQLCompiler, connection: Any, *_more: Any, **_any: Any) -> tuple[str, Any]:
        """Return a CASE with a condition for each period, the last one first."""
        instant, own = compiler.compile(self.get_source_expressions()[0])
        periods, parameters = [], []
        for number, start in reversed([*enumerate(self.starts)]):
            periods.append(f"WHEN {instant} >= %s THEN {number}")
            parameters += [*own, connection.ops.adapt_datetimefield_value(start)]
        return f"CASE {' '.join(periods)} ELSE -1 END", parameters

    def as_postgresql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, Any]:
        """Return a binary search of the starts, which is faster than the conditions of a CASE."""
        instant, own = compiler.compile(self.get_source_expressions()[0])
        return f"COALESCE(WIDTH_BUCKET({instant}, %s::timestamptz[]) - 1, -1)", [*own, [*self.starts]]


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
    return BarChart(parts, rows, most, totals, width=len(rows) * (BAR + GAP) - GAP)


def _scaled(number: int, most: int) -> int:
    return round(HEIGHT * number / most) if most else 0
