"""How cost grows with what there is: `python -m bench.growth [--most 1000000] [--only budget …]`.

A PostgreSQL of its own is started in a temporary folder. Rows are made by SQL, never by what is measured.
Prints one JSON line for each case and size: processor time (of the process, and of the database's work for
it), time on the clock, and the most memory that the process had in use at one time. Ends with 1 where a case
grows faster than it may.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import stage
from bench.curves import a_decade
from bench.stage import Case
from tests import memory

FLAT, LINEAR = 1.15, 11.5
"""What ten times the rows may cost, in times as much: noise may add something."""
ALLOWED = {FLAT: 1.3, LINEAR: 15.0}
"""From where on it is an error: the machine may be busy."""
EXPECTED = {
    **dict.fromkeys(("page by cursor", "page by cursor, deep", "credits", "timeline", "look-up"), FLAT),
    **dict.fromkeys(("allocate", "expire", "nudge", "refresh, new", "refresh, unchanged"), LINEAR),
    "credits of one learner": LINEAR,
    "counts by state": LINEAR,
}


@dataclass(frozen=True)
class Axis:
    """What grows: its name and its sizes; `bench/growth_cases.py` has the cases."""

    title: str
    sizes: Sequence[int]


_TO_A_MILLION = (1_000, 10_000, 100_000, 1_000_000)
AXES = {
    "learner": Axis("assignments of one learner", (1, 2, 5, 10, 20, 50, 100, 200)),
    "allocation": Axis("learners of an allocation", (10, 100, 1_000, 10_000)),
    "sweep": Axis("assignments due", (100, 1_000, 10_000, 100_000)),
    "catalog": Axis("courses of a catalog", (100, 1_000, 10_000, 100_000)),
    "budget": Axis("assignments in one budget", _TO_A_MILLION),
    "budgets": Axis("assignments in 1,000 other budgets", _TO_A_MILLION),
}
"""What grows. In this order, as a million rows slow down what comes after them."""


def memory_mb(case: Case) -> float | None:
    """Return the most memory that one more turn of the case has in use; None where that took too long."""
    if case.rounds == 1:
        return None
    given = case.ours.before()
    return round(memory.peak_while(partial(case.ours.work, given)) / 1e6, 2)


def measured(axis: str, cases: Callable[[int], Iterator[Case]], *, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of an axis, up to a size."""
    for size in AXES[axis].sizes:
        for case in cases(size) if size <= limit else ():
            figure = stage.measured(case, engine="postgres")
            yield {
                "kind": "growth",
                "axis": axis,
                "case": case.name,
                "size": size,
                "ms": figure.ours_ms,
                "wall_ms": figure.ours_wall_ms,
                "memory_mb": memory_mb(case),
                "rounds": case.rounds,
            }


def curves(rows: Iterable[Mapping[str, Any]], *, what: str = "ms") -> dict[str, list[tuple[float, float]]]:
    """Return the points of each case, by size."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row[what]:
            found.setdefault(row["case"], []).append((row["size"], row[what]))
    return {case: sorted(points) for case, points in found.items()}


def growth(case: str, points: Sequence[tuple[float, float]]) -> float:
    """Return by how much a case's cost is multiplied where there is ten times as much.

    Of what is linear, what a request costs besides hides the rest where there is little: the last two sizes
    count.
    """
    return round(a_decade(points[-2:] if EXPECTED[case] == LINEAR else points), 2)


def main() -> int:
    """Measure, print each figure, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=1_000_000, help="leave out larger sizes")
    parser.add_argument("--only", nargs="*", choices=AXES, default=[])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found = []
    with stage.database("postgres"):
        from bench.growth_cases import CASES  # noqa: PLC0415  # models, which need the settings

        head = stage.machine("postgres", "growth")
        for axis in chosen.only or AXES:
            for row in measured(axis, CASES[axis], limit=chosen.most):
                found.append(row)
                line = json.dumps(row | {"machine": head})
                print(line, flush=True)
                if chosen.out:
                    with chosen.out.open("a", encoding="utf-8") as out:
                        out.write(f"{line}\n")
    missed = 0
    for axis in chosen.only or AXES:
        for case, points in curves(row for row in found if row["axis"] == axis).items():
            if len(points) > 1:
                times = growth(case, points)
                missed += times > ALLOWED[EXPECTED[case]]
                print(f"{AXES[axis].title}: {case} x{times} a decade, at most x{EXPECTED[case]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
