"""Statements with SQL that is built once: the ORM takes longer for it than a database to run it.

What they ask or write must not depend on anything else that changes: what does is a `Slot`, or the row's key.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from django.db import connection, connections
from django.db.models import Expression, Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

_PK = -(2**62) - 1
"""Stands for the primary key while the SQL is built. No row has it."""
_PLACEHOLDER = re.compile(r"%%|IN \(%s\)|%s")


class Slot(Expression):
    """The place of a value, or with `__in` of a list of values, that is given each time.

    NULL equals nothing: neither in the place of a value, nor in that of an empty list, is a row found by it.
    A condition that is negated must not have one.
    """

    def __init__(self, name: str, output_field: Any) -> None:
        super().__init__(output_field=output_field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, Any]:
        """Return a placeholder, and the slot itself in the place of a value."""
        return "%s", [self]


class PreparedSelect:
    """The rows of a query set, which has slots, with other values in these each time."""

    def __init__(self, rows: Callable[[], QuerySet[Any, Any]]) -> None:
        self._rows = rows
        self._built: dict[str, _Select] = {}

    def read(self, **given: Any) -> list[Any]:
        """Return the rows as the query set does, with these values in its slots. One statement."""
        if connection.vendor not in self._built:
            self._built[connection.vendor] = _Select(self._rows())
        return self._built[connection.vendor].read(given)

    def first(self, **given: Any) -> Any:
        """Return the first row; None without one."""
        return next(iter(self.read(**given)), None)


class _Select:
    """The SQL of a query set for one kind of database. It keeps no connection: each thread has its own."""

    def __init__(self, rows: QuerySet[Any, Any]) -> None:
        self._rows = rows
        self._compiler = compiler = rows.query.get_compiler(connection=connections[rows.db])
        sql, parameters = compiler.as_sql()
        self._sql, self._parameters = sql, list(parameters)
        read = [one for one, _sql, _alias in compiler.select[: compiler.col_count]]
        self._converters = [(one, one.get_db_converters(compiler.connection)) for one in read]
        vars(compiler)["connection"] = None
        if compiler.klass_info:
            compiler.klass_info = _without_constructors(compiler.klass_info)

    def read(self, given: Mapping[str, Any]) -> list[Any]:
        """Run it, and return what the query set makes of its rows."""
        rows = cast("Any", self._rows)
        mine = connections[rows.db]
        statement, converters = self._filled(given, mine), self._converters_of(mine)
        compiler = copy(self._compiler)
        vars(compiler).update(
            connection=mine, as_sql=lambda: statement, get_converters=lambda _read: converters
        )
        query = SimpleNamespace(get_compiler=lambda *_args, **_options: compiler)
        # What instances and tuples are made from: a query set without what builds the SQL.
        like = SimpleNamespace(query=query, db=rows.db, model=rows.model, _known_related_objects={})
        return list(rows._iterable_class(like))

    def _converters_of(self, mine: Any) -> dict[int, tuple[list[Any], Any]]:
        """Return by its place what converts a value: first as this database gives it, then as its field."""
        of_database = mine.ops.get_db_converters
        found = {
            at: ([*of_database(one), *of_field], one) for at, (one, of_field) in enumerate(self._converters)
        }
        return {at: converters for at, converters in found.items() if converters[0]}

    def _filled(self, given: Mapping[str, Any], mine: Any) -> tuple[str, list[Any]]:
        """Return the SQL, with what its lists need in it, and all values."""
        values: list[Any] = []
        operators: list[str] = []  # of a list; empty for any other value
        for one in self._parameters:
            value, operator = [one], ""
            if isinstance(one, Slot):
                asked = given[one.name]
                is_list = isinstance(asked, list | tuple | set | frozenset)
                value = _prepared(one, asked if is_list else [asked], mine) or [None]
                if is_list:
                    as_array = mine.vendor == "postgresql" and len(value) > 1  # one value for the driver
                    operator = "= ANY(%s)" if as_array else f"IN ({', '.join(['%s'] * len(value))})"
                    value = [value] if as_array else value
            values += value
            operators.append(operator)
        if not any(operators):
            return self._sql, values
        places = iter(operators)

        def placeholder(found: re.Match[str]) -> str:
            return found[0] if found[0] == "%%" else next(places) or found[0]

        return _PLACEHOLDER.sub(placeholder, self._sql), values


def _prepared(slot: Slot, values: Iterable[Any], mine: Any) -> list[Any]:
    """Return values as the slot's field gives them to this database."""
    prepare = slot.output_field.get_db_prep_value
    return [value if type(value) is int else prepare(value, mine) for value in values]


def _without_constructors(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ORM makes instances by, so that what was read is set at once, not field by field.

    A model with a constructor or a `from_db` of its own keeps it.
    """
    model: Any = info["model"]
    if model.__init__ is Model.__init__ and model.from_db.__func__ is vars(Model)["from_db"].__func__:
        model = SimpleNamespace(_meta=model._meta, from_db=partial(_instance, model))
    related = [_without_constructors(one) for one in info.get("related_klass_infos", ())]
    return {**info, "model": model, "related_klass_infos": related}


def _instance(model: type[Model], db: str, names: Sequence[str], values: Sequence[Any]) -> Model:
    made = model.__new__(model)
    state = ModelState()
    state.db, state.adding = db, False
    vars(made)["_state"] = state
    vars(made).update(zip(names, values, strict=True))
    return made


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
