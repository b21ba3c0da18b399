"""Faster conversion of many values on PostgreSQL, and fresh statistics after thousands of inserts.

The driver converts a list value by value, which takes several times as long as converting it at once.
Django's parser of instants takes ten times as long as Python's.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from types import NoneType
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.signals import connection_created
from django.db.models import Field, ForeignObject, Model
from django.db.models.fields.related_lookups import RelatedIn
from django.db.models.lookups import In

_WRITTEN: Mapping[type, Callable[[Any], str]] = {int: str, datetime: str, UUID: attrgetter("hex")}
"""How values without a quotation mark are written. Lists of other types, text excepted, are the driver's."""

_MANY_VALUES = re.compile(r" IN \(%s(?:, %s){9,}\)$")


def register() -> None:
    """Use these conversions on each connection to PostgreSQL that is opened from now on."""
    connection_created.connect(_adapt, dispatch_uid="bursary.lib.postgres")
    Field.register_lookup(InAtOnce)
    ForeignObject.register_lookup(RelatedInAtOnce)


class InAtOnce(In):
    """The lookup `in`, which passes ten or more values as one array parameter.

    An array has one type. A number that exceeds the column's type would be refused, and matches no row here.
    """

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the condition `= ANY(array)`, which PostgreSQL plans as it plans IN."""
        sql, parameters = self.as_sql(compiler, connection)
        many = _MANY_VALUES.search(sql)
        if many is None:
            return sql, list(parameters)
        first = len(parameters) - many[0].count("%s")
        values = list(parameters[first:])
        kinds = set(map(type, values))
        are_texts = all(issubclass(kind, str) for kind in kinds)
        if not (are_texts or (len(kinds) == 1 and kinds <= _WRITTEN.keys())):
            return sql, list(parameters)
        return f"{sql[: many.start()]} = ANY(%s)", [*parameters[:first], values]


class RelatedInAtOnce(InAtOnce, RelatedIn):
    """The same of a relation."""


def analyze(*models: type[Model]) -> None:
    """Run ANALYZE on the tables of these models; on other engines than PostgreSQL, do nothing.

    PostgreSQL's autovacuum does so within minutes. Until then it overestimates how many rows of a table that
    has grown have a value, and reads the whole table to find a few.
    """
    if connection.vendor == "postgresql":
        tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in models)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {tables}")


def _adapt(connection: Any, **_signal: Any) -> None:
    if connection.vendor != "postgresql":
        return
    connection.connection.adapters.register_dumper(list, _dumper())
    if connection.timezone is UTC:
        connection.connection.adapters.register_loader("timestamptz", _loader())


@cache
def _dumper() -> type[Any]:
    # The driver is an extra: there is one where there is a connection.
    from psycopg.postgres import types  # noqa: PLC0415  # see above
    from psycopg.types.array import ListDumper  # noqa: PLC0415  # see above

    shorter, bigint = {types[name].array_oid for name in ("int2", "int4")}, types["int8"].array_oid

    class AtOnceDumper(ListDumper):
        """Writes a list of values of one type, each in quotation marks; leaves other lists to the driver.

        Whole numbers, however small, get the type of primary keys: PostgreSQL hashes an array only if it has
        the column's type, and otherwise searches it from the beginning for each row.
        """

        def upgrade(self, obj: list[Any], format: Any) -> Any:
            upgraded = super().upgrade(obj, format)
            if upgraded.oid in shorter:
                upgraded.oid = bigint
            return upgraded

        def dump(self, obj: list[Any]) -> Any:
            kinds = set(map(type, obj))
            if all(issubclass(kind, str) for kind in kinds):
                texts = "\0".join(obj)
                # PostgreSQL's text cannot contain this character; the driver refuses such a text.
                if texts.count("\0") >= len(obj):
                    return super().dump(obj)
                quoted = texts.replace("\\", r"\\").replace('"', r"\"").replace("\0", '","')
                return f'{{"{quoted}"}}'.encode()
            kinds -= {NoneType}
            written = _WRITTEN.get(kinds.pop()) if len(kinds) == 1 else None
            if written is None:
                return super().dump(obj)
            values = ("NULL" if one is None else f'"{written(one)}"' for one in obj)
            return f"{{{','.join(values)}}}".encode()

    return AtOnceDumper


@cache
def _loader() -> type[Any]:
    # The driver is an extra: there is one where there is a connection.
    from django.db.backends.postgresql.psycopg_any import BaseTzLoader  # noqa: PLC0415  # see above

    class UtcLoader(BaseTzLoader):  # type: ignore[misc]  # the driver's types depend on its build
        """Reads an instant in UTC; leaves others, and those outside Python's range, to Django's loader."""

        timezone = UTC

        def load(self, data: Any) -> Any:
            try:
                found = datetime.fromisoformat(str(data, "ascii"))
            except ValueError:
                return super().load(data)
            return found if found.tzinfo is UTC else super().load(data)

    return UtcLoader
