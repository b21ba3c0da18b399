"""Runs the suite on one engine: `python -m bench.run --db sqlite|postgres|mariadb --scale small|100k|1m`.

Prints one JSON line a case, in which `…_database_ms` is the database's part of the processor time, and then
a table, and ends with 1 where a case takes half as much again as its target allows. `--only` names groups,
such as `lists`; `--out` is a file to which the lines are added, from which `bench/report.py` writes
docs/performance.md.
"""

import argparse
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from bench import stage
from bench.report import table
from bench.scales import SCALES, Scale

GROUPS = ("claims", "sweeps", "replica", "credits", "allocate", "lists")
"""In this order: claims and sweeps take everything that is due, of whatever budget."""


def figures(engine: str, scale: Scale, *, only: list[str]) -> Iterator[stage.Figure]:
    """Yield each case's figure."""
    for group in only or GROUPS:
        for case in import_module(f"bench.{group}").cases(scale):
            yield stage.measured(case, engine=engine)


def main() -> int:
    """Run the cases, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--db", choices=("sqlite", "postgres", "mariadb"), default="sqlite")
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--only", nargs="*", choices=GROUPS, default=[])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found = []
    with stage.database(chosen.db):
        head = stage.machine(chosen.db, chosen.scale)
        for figure in figures(chosen.db, SCALES[chosen.scale], only=chosen.only):
            found.append(figure.row() | {"machine": head})
            line = figure.line(head)
            print(line, flush=True)
            if chosen.out:
                with chosen.out.open("a", encoding="utf-8") as out:
                    out.write(f"{line}\n")
    print(table(found), flush=True)
    missed = [row["case"] for row in found if row["missed"]]
    if missed:
        print(f"Above {stage.ALLOWED} times the target on {chosen.db}: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
