"""What the tests of a database server in trouble write otherwise for PostgreSQL and to MariaDB."""

from pathlib import Path
from typing import Any

from django.db import connection


class PostgreSQLWords:
    """The statements and settings for PostgreSQL."""

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


class MariaDBWords:
    """The statements and settings for MariaDB."""

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


WORDS: dict[str, "Words"] = {"postgresql": PostgreSQLWords(), "mysql": MariaDBWords()}
Words = PostgreSQLWords | MariaDBWords
