"""Curves of measurements: their slope, their knee, and their picture as SVG on logarithmic axes."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 400
LEFT, TOP, RIGHT, BOTTOM = 62, 34, 220, 52
"""Room around the plot, in pixels: its axes' numbers, its title, its legend, and its axis' title."""
LEGEND_STEP = 20
NEAR_THE_MOST = 0.9

STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 14px; font-weight: 600 }
  .back { fill: #ffffff } .grid { stroke: #d0d7de } .fit { stroke-dasharray: 5 4; fill: none; opacity: 0.8 }
  .s0 { --c: #0550ae } .s1 { --c: #cf222e } .s2 { --c: #116329 } .s3 { --c: #8250df }
  .s4 { --c: #953800 } .s5 { --c: #0a7d91 } .s6 { --c: #99286e } .s7 { --c: #57606a }
  .fit, .dot { stroke: var(--c) } .dot { fill: var(--c) }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .back { fill: #0d1117 } .grid { stroke: #30363d }
    .s0 { --c: #79c0ff } .s1 { --c: #ff7b72 } .s2 { --c: #7ee787 } .s3 { --c: #d2a8ff }
    .s4 { --c: #ffa657 } .s5 { --c: #76e3ea } .s6 { --c: #f778ba } .s7 { --c: #8b949e }
  }
"""


def fit(points: Points) -> tuple[float, float]:
    """Return the slope and the intercept of log10(y) over log10(x), by least squares.

    Raises ValueError (statistics.StatisticsError) for fewer than two points, or two of one x.
    """
    xs, ys = zip(*((math.log10(x), math.log10(y)) for x, y in points), strict=True)
    line = statistics.linear_regression(xs, ys)
    return line.slope, line.intercept


def a_decade(points: Points) -> float:
    """Return by how much y is multiplied where x is ten times as large: 1 is flat, 10 is linear."""
    return float(10 ** fit(points)[0])


def knee(points: Points) -> float:
    """Return the least x with a y of nearly (nine tenths of) the largest y: more x brings little more."""
    most = max(y for _x, y in points)
    return min(x for x, y in points if y >= NEAR_THE_MOST * most)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the least value that at least `share` (0 to 1) of the values do not exceed; of none, 0."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)), 1) - 1] if ordered else 0.0


def picture(
    title: str, curves: Mapping[str, Points], *, across: str, up: str, fitted: bool = True, base: int = 10
) -> str:
    """Return an SVG of the curves on logarithmic axes, readable on light and on dark pages.

    `across` and `up` are the axes' titles. A curve is its points and, where `fitted`, the line through them;
    else the points are joined. The axis across has a number at each power of `base`.
    """
    places = [place for points in curves.values() for place in points]
    columns, rows = _Axis((x for x, _y in places), base=base), _Axis((y for _x, y in places), base=10)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return round(LEFT + width * columns.share(x), 1), round(TOP + height * (1 - rows.share(y)), 1)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}">',
        f'<style>{STYLE}</style><rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 20, title, more='class="title"'),
    ]
    for value in columns.ticks:
        x, _bottom = at(value, rows.low)
        drawn.append(f'<path class="grid" d="M{x} {TOP}V{TOP + height}"/>')
        drawn.append(_text(x, TOP + height + 18, f"{value:,.0f}", more='text-anchor="middle"'))
    for value in rows.ticks:
        _left, y = at(columns.low, value)
        drawn.append(f'<path class="grid" d="M{LEFT} {y}H{LEFT + width}"/>')
        drawn.append(_text(LEFT - 6, y + 4, f"{value:,g}", more='text-anchor="end"'))
    drawn.append(_text(LEFT + width / 2, HEIGHT - 12, across, more='text-anchor="middle"'))
    turned = f'text-anchor="middle" transform="rotate(-90 14 {TOP + height / 2})"'
    drawn.append(_text(14, TOP + height / 2, up, more=turned))
    for number, (name, points) in enumerate(curves.items()):
        line = _ends(points) if fitted and len(points) > 1 else points
        line = [at(x, min(max(y, rows.low), rows.high)) for x, y in line]  # a fitted line may leave the plot
        drawn.append(_curve(number, name, line, [at(x, y) for x, y in points]))
    return "\n".join([*drawn, "</svg>"]) + "\n"


class _Axis:
    """Powers of a base from the least value to the most."""

    def __init__(self, values: Iterable[float], *, base: int) -> None:
        logs = [math.log(value, base) for value in values]
        first, last = math.floor(min(logs) + 1e-9), math.ceil(max(logs) - 1e-9)
        last = max(last, first + 1)
        self.ticks = [float(base) ** power for power in range(first, last + 1)]
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def share(self, value: float) -> float:
        """Return where on the axis a value is, from 0 to 1."""
        return math.log(value / self.low) / math.log(self.high / self.low)


def _curve(number: int, name: str, line: Points, dots: Points) -> str:
    """Return a curve of places in the picture, and its line of the legend."""
    path = "L".join(f"{x} {y}" for x, y in line)
    drawn = "".join(f'<circle class="dot" cx="{x}" cy="{y}" r="3.5"/>' for x, y in dots)
    left, middle = WIDTH - RIGHT + 20, TOP + 12 + LEGEND_STEP * number
    key = f'<circle class="dot" cx="{left}" cy="{middle - 4}" r="4"/>'
    group = f'<g class="s{number % 8}"><path class="fit" d="M{path}"/>{drawn}{key}</g>'
    return f"{group}\n{_text(left + 12, middle, name)}"


def _ends(points: Points) -> Points:
    """Return both ends of the fitted line."""
    slope, intercept = fit(points)
    xs = [x for x, _y in points]
    return [(x, 10 ** (intercept + slope * math.log10(x))) for x in (min(xs), max(xs))]


def _text(x: float, y: float, words: str, *, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" {more}>{escape(words)}</text>'
