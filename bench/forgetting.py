"""What forgetting one person needs in a large database, against one of a tenth of its size: time, and memory.

Usage: `python -m bench.forgetting [--assignments 1000000]`. A PostgreSQL of its own is started in a temporary
folder and filled with assignments, each with its actions and the mail that was sent. Each erasure runs in a
process of its own. Prints one JSON line a size, and ends with 1 where the larger needs more than `LIMIT`
times the memory of the smaller.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import django

from bench import stage

LIMIT = 1.3


def measure(folder: Path, *, url: str, rows: int) -> dict[str, float]:
    """Fill a database, and return what forgetting a person in it took."""
    environment = os.environ | stage.environment(folder, url=url)
    migrate = ["-m", "bursary.config.cli", "migrate", "--verbosity", "0"]
    for child in (
        migrate,
        ["-m", "bench.forgetting", "--fill", str(rows)],
        ["-m", "bench.forgetting", "--forget"],
    ):
        done = subprocess.run([sys.executable, *child], env=environment, check=True, stdout=subprocess.PIPE)
    said: dict[str, float] = json.loads(done.stdout)
    return said


def main() -> int:
    """Measure both sizes, compare them, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--assignments", type=int, default=1_000_000)
    parser.add_argument("--fill", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--forget", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.fill or chosen.forget:
        django.setup()
        from bench import forgetting_steps  # noqa: PLC0415  # models, which need the settings

        forgetting_steps.fill(chosen.fill) if chosen.fill else forgetting_steps.forget()
        return 0
    sizes = {"few": chosen.assignments // 10, "many": chosen.assignments}
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder, stage.postgres(Path(folder)) as server:
        for name, rows in sizes.items():
            said = measure(Path(folder), url=server.database(name), rows=rows)
            print(json.dumps(said), flush=True)
            peaks.append(said["peak_mb"])
    ratio = round(peaks[1] / peaks[0], 2)
    print(json.dumps({"ratio": ratio, "limit": LIMIT}))
    return 1 if ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
