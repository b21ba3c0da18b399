"""What happens under `make run` when time passes and no command is given."""

import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.elapsed import PATIENCE, until
from tests.forked import Forked
from tests.ops.processes import QUICKLY, Demonstration, Environment, environment

pytestmark = [pytest.mark.xdist_group("demonstration"), pytest.mark.takes_long]

DAYS_LATER = """
import datetime, sys, time_machine
later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=int(sys.argv.pop(1)))
time_machine.travel(later, tick=True).start()
"""
ACTIONS = "assignments_learnercontentassignmentaction"


def test_reminders_expiry_and_their_notices_happen_by_themselves(
    demonstration: Demonstration, tmp_path: Path
) -> None:
    made = Path(shutil.copytree(demonstration.folder, tmp_path, dirs_exist_ok=True))
    env = environment(made, PORT="0")

    run_until(lambda: done(made, "reminded") >= 3, days=20, env=env)
    assert done(made, "expired") == 0

    run_until(lambda: done(made, "expiration_notified") >= 4, days=120, env=env)
    (expired,) = query(
        made,
        "SELECT a.id FROM assignments_learnercontentassignment a "
        f"JOIN {ACTIONS} b ON b.assignment_id = a.id WHERE a.state = 'expired' AND b.action_type = 'reminded'"
        " AND b.status = 'done' LIMIT 1",
    )
    kinds = query(
        made,
        f"SELECT action_type, status FROM {ACTIONS} WHERE assignment_id = {expired[0]} ORDER BY created, id",
    )
    assert kinds[:3] == [("allocated", "done"), ("learner_linked", "done"), ("notified", "done")]
    assert ("reminded", "done") in kinds[3:-2]
    assert kinds[-2:] == [("expired", "done"), ("expiration_notified", "done")]
    failed = query(made, "SELECT name, last_error FROM ops_scheduledtask WHERE failures > 0")
    assert failed == []


def run_until(happens: Callable[[], bool], *, days: int, env: Environment) -> None:
    """Run what `make run` runs, so many days later, until something has happened; then stop it."""
    folder = Path(env["BURSARY_VAR_DIR"])
    output = folder / "output"
    program = ("-c", DAYS_LATER + QUICKLY, str(days), "demo", "--weeks", "0")
    server = Forked(*program, env=env, folder=folder, out=output, err=output)
    try:
        until(happens, server)
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=PATIENCE)
    finally:
        server.kill()
        server.wait()
        print(output.read_text())  # noqa: T201  # shown if the test fails


def done(folder: Path, kind: str) -> int:
    """Return how many actions of a kind are done."""
    return len(query(folder, f"SELECT id FROM {ACTIONS} WHERE action_type = '{kind}' AND status = 'done'"))


def query(folder: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "bursary.sqlite3", timeout=20)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
