"""The environment of a test run, made before Django reads its settings: a folder, and the databases in it.

`BURSARY_TEST_DB` chooses the engine: `sqlite` (the default; a file, because threads must share it),
`postgres` or `mariadb`: a server of its own, started for this run and thrown away with it. `BURSARY_TEST_DIR`
gives an existing folder, which stays: `make mutants` runs pytest many times in processes forked from one.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

from tests import mariadb

IN_MEMORY, ROOM = "/dev/shm", 4 * 2**30  # bytes: several times what a run writes


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
        folder = Path(tempfile.mkdtemp(prefix="bursary-tests-", dir=_in_memory()))
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


def _in_memory() -> str | None:
    """Return a folder in memory, where Linux has one with room; None is the usual one.

    On a disk a server waits seconds for what it makes, and its end for what it deletes.
    """
    with suppress(OSError):
        if "TMPDIR" not in os.environ and shutil.disk_usage(IN_MEMORY).free >= ROOM:
            return IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    return None


def _start_postgres(config: pytest.Config, folder: Path) -> str:
    """Have a server start while the run imports, and return its URL."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)
    server = import_module("tests.postgres").PostgreSQL(folder / "postgres")
    config.add_cleanup(server.throw_away)
    config.pluginmanager.register(_Waiting(server.wait))
    url: str = server.url()
    return url


class _Waiting:
    """Waits for a server before any test, and before any process of the run starts."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait = wait

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Wait."""
        self._wait()
