"""What is asked of a database server before its tables are made; and MariaDB by the commands alone."""

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.core.checks import Tags, run_checks
from django.db import connection

from tests.elapsed import PATIENCE, until
from tests.mariadb import url_of
from tests.ops.processes import bursary, environment, start

NAME = "of_commands"

pytestmark = [pytest.mark.needs_row_locks, pytest.mark.django_db(transaction=True)]


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def found() -> list[str | None]:
    return [one.id for one in run_checks(tags=[Tags.database], databases=["default"])]


def test_a_server_that_isolates_otherwise_is_refused() -> None:
    assert found() == []
    of_session = "CHARACTERISTICS AS TRANSACTION" if connection.vendor == "postgresql" else "TRANSACTION"
    execute(f"SET SESSION {of_session} ISOLATION LEVEL REPEATABLE READ")
    try:
        assert found() == ["bursary.E022"]
    finally:
        connection.close()  # the next one begins as the settings ask


@pytest.fixture
def database() -> Iterator[str]:
    """An empty database as the server makes it by default: in latin1."""
    name = f"{connection.settings_dict['NAME']}_{NAME}"
    execute(f"CREATE DATABASE {name}")
    yield name
    execute(f"DROP DATABASE {name}")


@pytest.mark.takes_long
@pytest.mark.only_on("mysql", because="a database has a collation there that an installation may miss")
def test_a_collation_that_merges_keys_is_refused_and_another_is_migrated_filled_and_served(
    database: str, tmp_path: Path, port: int
) -> None:
    url = url_of(database, connection.settings_dict["OPTIONS"]["unix_socket"])
    env = environment(tmp_path, BURSARY_DATABASE_URL=url, PORT=str(port))

    refused = bursary("migrate", env=env)
    assert (refused.returncode, "bursary.E023" in refused.stderr) == (1, True), refused.stderr

    execute(f"ALTER DATABASE {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin")
    for command in ("migrate", "demo --no-serve --weeks 1", "check --database default --fail-level WARNING"):
        ran = bursary(*command.split(), env=env)
        assert (ran.returncode, ran.stderr) == (0, ""), command

    server = start("serve", env=env)
    try:
        until(lambda: _is_well(port), server)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
    assert (tmp_path / "stderr").read_text() == ""


def _is_well(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False
