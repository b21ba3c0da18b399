"""Faster conversion of many values on PostgreSQL: lists are written at once, instants read by Python.

Value by value, as the driver writes a list, takes several times as long, and Django's parser of instants ten
times as long as Python's. And the statistics by which it plans, after thousands of rows were inserted.
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
"""How values are written that have no quotation mark. Of other types but text, the driver writes a list."""

_MANY_VALUES = re.compile(r" IN \(%s(?:, %s){9,}\)$")


def register() -> None:
    """Use these conversions on each connection to PostgreSQL that is opened from now on."""
    connection_created.connect(_adapt, dispatch_uid="bursary.lib.postgres")
    Field.register_lookup(InAtOnce)
    ForeignObject.register_lookup(RelatedInAtOnce)


class InAtOnce(In):
    """The lookup `in`; of ten values or more that are written at once, PostgreSQL is given one, their list.

    A list has one type: a number beyond that of its column would be refused there, and equals nothing here.
    """

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Return the condition, which PostgreSQL plans as it does `IN` with each of the values."""
        sql, parameters = self.as_sql(compiler, connection)
        many = _MANY_VALUES.search(sql)
        if many is None:
            return sql, list(parameters)
        first = len(parameters) - many[0].count("%s")
        values = list(parameters[first:])
        if not _are_written_at_once(set(map(type, values))):
            return sql, list(parameters)
        return f"{sql[: many.start()]} = ANY(%s)", [*parameters[:first], values]


class RelatedInAtOnce(InAtOnce, RelatedIn):
    """The same of a relation."""


def analyze(*models: type[Model]) -> None:
    """Run ANALYZE on the tables of these models; on other engines than PostgreSQL, do nothing.

    It takes them within minutes on its own. Meanwhile it expects a value in many more rows of a table that
    has grown than have it, and reads the whole table for a few.
    """
    if connection.vendor == "postgresql":
        tables = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in models)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {tables}")


def _are_written_at_once(kinds: set[type]) -> bool:
    return all(issubclass(kind, str) for kind in kinds) or (len(kinds) == 1 and kinds <= _WRITTEN.keys())


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
        """Writes a list of one kind, each value in quotation marks; leaves any other list to the driver.

        Whole numbers are of the type that primary keys have, however small they are: in a list of another
        type than the column's, PostgreSQL searches from its beginning for each row, and not by a hash.
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
                # No text in PostgreSQL has this character: the driver refuses one that has.
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
        """Reads an instant in UTC; leaves any other, and what is none of Python's, to Django."""

        timezone = UTC

        def load(self, data: Any) -> Any:
            try:
                found = datetime.fromisoformat(str(data, "ascii"))
            except ValueError:
                return super().load(data)
            return found if found.tzinfo is UTC else super().load(data)

    return UtcLoader
