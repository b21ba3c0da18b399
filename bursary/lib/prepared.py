"""Updates of one row, with SQL that is built once: the ORM takes longer for it than a database to run it.

What is written must not depend on the row but by expressions, nor on anything else that changes.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

from django.db import connection
from django.db.models import QuerySet
from django.db.models.sql import UpdateQuery

_PK = -(2**62) - 1
"""Stands for the primary key while the SQL is built. No row has it."""


class PreparedUpdate:
    """An update of the row with a primary key, with the same columns each time."""

    def __init__(
        self, rows: Callable[[], QuerySet[Any]], columns: Callable[[], Mapping[str, object]]
    ) -> None:
        self._rows, self._columns = rows, columns
        self._built: dict[str, tuple[str, list[Any]]] = {}

    def run(self, pk: int) -> None:
        """Update the row with this primary key, if there is one, in the caller's transaction."""
        if connection.vendor not in self._built:
            self._built[connection.vendor] = self._build()
        sql, parameters = self._built[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(sql, [pk if value == _PK else value for value in parameters])

    def _build(self) -> tuple[str, list[Any]]:
        query = cast(UpdateQuery, self._rows().filter(pk=_PK).query.chain(UpdateQuery))
        query.add_update_values(dict(self._columns()))
        sql, parameters = query.get_compiler(connection=connection).as_sql()
        return sql, list(parameters)
