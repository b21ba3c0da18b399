"""Measures requests by this code and by an older commit's, in turn: `python -m bench.against`.

Targets in milliseconds were set on one machine, as a share of what the code of that time took there. This
asks the same of both on the machine at hand, each in a process and on a PostgreSQL server of its own, and
prints a table: milliseconds of processor time, the process' and the database's, the share, and the share that
is the target. `--out` is a file to which a JSON line a request is added. What is installed now runs both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from bench import stage

ROOT = Path(__file__).parents[1]
THEN = "6c00f413"
"""The last commit before the work on these goals began."""
SHARES = {
    "credits, 1": 6 / 10,
    "credits, 50": 10 / 28,
    "credits, 200": 24 / 78,
    "allocate, a request": 250 / 817,
}
"""The goals, in milliseconds, and what the code of that time took."""
TURNS, ROUNDS, WARM_UPS = 3, 11, 3


def ask() -> None:
    """Measure the requests of the tree that is first on the path, and print their medians as JSON."""
    with stage.migrated("postgres"):
        medians: dict[str, float] = {}
        for name, work in import_module("bench.asked").requests():
            stage.let_the_database_settle()
            took = []
            for number in range(-WARM_UPS, ROUNDS):
                before = stage.processor_ms()
                work()
                if number >= 0:
                    took.append(stage.processor_ms() - before)
            medians[name] = statistics.median(took)
    print(json.dumps(medians))


def medians_of(tree: Path) -> dict[str, float]:
    """Return the milliseconds of each request by the code of a tree."""
    # `bench` is found in both, and only what is measured in the tree alone.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(ROOT)])}
    command = [sys.executable, "-m", "bench.against", "--ask"]
    done = subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure both in turn, print the table, and return 1 where a share is above 1.5 times its target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--then", default=THEN, metavar="COMMIT", help="the older commit")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ask:
        ask()
        return 0
    with tempfile.TemporaryDirectory(prefix="bursary-bench-") as folder:
        older = Path(folder, "then")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(older), chosen.then], check=True)
        try:
            turns = [(medians_of(older), medians_of(ROOT)) for _turn in range(TURNS)]
        finally:
            subprocess.run([*git, "remove", "--force", str(older)], check=True)
    missed, measured = False, {"commit": chosen.then, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    print("| request | then | now | share | target |\n| --- | ---: | ---: | ---: | ---: |")
    for name, target in SHARES.items():
        then, now = (statistics.median(turn[which][name] for turn in turns) for which in (0, 1))
        missed |= now > 1.5 * target * then
        print(f"| {name} | {then:,.1f} | {now:,.1f} | {now / then:.2f} | {target:.2f} |")
        row = {"kind": "against", "case": name, "then_ms": then, "now_ms": now, "target": target}
        if chosen.out:
            with chosen.out.open("a", encoding="utf-8") as out:
                out.write(f"{json.dumps(row | measured)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
