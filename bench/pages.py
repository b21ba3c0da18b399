"""What an administrator's pages take with 100,000 assignments in the budget, against 1,000.

Usage: `python -m bench.pages [--assignments 100000] [--explain PAGE]`. A PostgreSQL of its own is started in
a temporary folder, with a database of each size. A page is asked for in the process, several times in turn,
and its least processor time counts, of the process and of the database's work for it, which neighbours on the
machine change little: up to its first byte, which of a page that is not streamed is all of it. Prints a line
a page, and ends with 1 where the larger database takes more than `LIMIT` times as long. The time to the
end of a streamed page (`TO_THE_END`) is printed as well, and has no limit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import django

from bench import stage
from bench.stage import PostgreSQL

LIMIT = 3.0
FEW = 1_000
TO_THE_END = ", to its end"


def child(environment: Mapping[str, str], *arguments: str) -> str:
    """Run this script, or a command, with a database, and return what it prints."""
    done = subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


def compare(server: PostgreSQL, folder: Path, *, count: int, page: str) -> int:
    """Measure both sizes, print each page's figures, and return the exit status."""
    times: list[dict[str, float]] = []
    for name, rows in (("few", FEW), ("many", count)):
        environment = os.environ | stage.environment(folder, url=server.database(name))
        child(environment, "-m", "bursary.config.cli", "migrate", "--verbosity", "0")
        pages = child(environment, "-m", "bench.pages", "--fill", str(rows))
        if page:
            print(child(environment, "-m", "bench.pages", "--plans", json.loads(pages)[page]))
        else:
            times.append(json.loads(child(environment, "-m", "bench.pages", "--measure", pages)))
    if page:
        return 0
    worst = 0.0
    for name, few in times[0].items():
        ratio = times[1][name] / few
        if not name.endswith(TO_THE_END):
            worst = max(worst, ratio)
        print(f"{name:<24} {few:8.1f} ms {times[1][name]:8.1f} ms  x{ratio:.2f}", flush=True)
    print(json.dumps({"worst": round(worst, 2), "limit": LIMIT}))
    return 1 if worst > LIMIT else 0


def main() -> int:
    """Measure, or do one step of it, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--assignments", type=int, default=100_000)
    parser.add_argument("--explain", default="", metavar="PAGE", help="show a page's slow statements")
    for step in ("--fill", "--measure", "--plans"):
        parser.add_argument(step, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.fill or chosen.measure or chosen.plans:
        django.setup()
        from bench import pages_steps  # noqa: PLC0415  # models, which need the settings

        pages_steps.fill(int(chosen.fill)) if chosen.fill else None
        pages_steps.measure(json.loads(chosen.measure)) if chosen.measure else None
        pages_steps.explain(chosen.plans) if chosen.plans else None
        return 0
    with tempfile.TemporaryDirectory() as folder, stage.postgres(Path(folder)) as server:
        return compare(server, Path(folder), count=chosen.assignments, page=chosen.explain)


if __name__ == "__main__":
    sys.exit(main())
