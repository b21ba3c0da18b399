"""Instants as PostgreSQL sends them, read by Python's own parser: Django's takes ten times as long."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.db.backends.signals import connection_created


def register() -> None:
    """Read instants so on each connection to PostgreSQL that is opened from now on."""
    connection_created.connect(_read_instants, dispatch_uid="bursary.lib.postgres")


def _read_instants(connection: Any, **_signal: Any) -> None:
    if connection.vendor == "postgresql" and connection.timezone is UTC:
        connection.connection.adapters.register_loader("timestamptz", _loader())


@cache
def _loader() -> type[Any]:
    # The driver is an extra: there is one where there is a connection.
    from django.db.backends.postgresql.psycopg_any import BaseTzLoader  # noqa: PLC0415  # see above

    class UtcLoader(BaseTzLoader):  # type: ignore[misc]  # the driver's types depend on its build
        """Reads an instant in UTC; leaves any other, and what is none of Python's, to Django."""

        timezone = UTC

        def load(self, data: Any) -> Any:
            try:
                found = datetime.fromisoformat(str(data, "ascii"))
            except ValueError:
                return super().load(data)
            return found if found.tzinfo is UTC else super().load(data)

    return UtcLoader
