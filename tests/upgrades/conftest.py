"""A database without a table: what is recorded is put into the tables of its release, made forwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection


@pytest.fixture
def no_tables(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """Use an empty database until the end of the test.

    Migrating it to the tables of an earlier release takes a third of the processor time that undoing all
    migrations since takes, and afterwards none is to be done again.
    """
    usual = connection.settings_dict["NAME"]
    own = str(tmp_path / "upgrades.sqlite3") if connection.vendor == "sqlite" else f"{usual}_upgrades"
    _on_the_server(f"CREATE DATABASE {own} {connection.creation.sql_table_creation_suffix()}")
    connection.close()
    connection.settings_dict["NAME"] = own
    yield
    connection.close()
    connection.settings_dict["NAME"] = usual
    _on_the_server(f"DROP DATABASE {own}")


def _on_the_server(statement: str) -> None:
    if connection.vendor != "sqlite":  # which makes the file of a database when it is opened
        with connection._nodb_cursor() as cursor:
            cursor.execute(statement)
