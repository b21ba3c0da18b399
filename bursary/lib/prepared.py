"""Statements with SQL that is built once: the ORM needs more time to build it than the database to run it.

Each value that differs from call to call is a `Parameter`; nothing else in the statement may differ.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from datetime import datetime, timedelta
from functools import lru_cache, partial
from types import NoneType, SimpleNamespace
from typing import Any, cast

from django.db import connection, connections, transaction
from django.db.models import CharField, Expression, JSONField, Model, QuerySet, Value
from django.db.models.base import ModelState
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

_PLACEHOLDER = re.compile(r"%%|IN \(%s\)|%s")


class Parameter(Expression):
    """A parameter of a prepared statement: a value, or with `__in` a list, that each call gives.

    For a column that an update writes, a call may map each value to primary keys; other rows keep theirs.
    Adding a time to a parameter, or subtracting it, does so with the instant that the call gives.

    None and an empty list become NULL, which equals nothing: the condition finds no row. So a negated
    condition must not have a parameter that may be one of these.
    """

    def __init__(self, name: str, output_field: Any, *, later: timedelta = timedelta()) -> None:
        super().__init__(output_field=output_field)
        self.name, self.later = name, later

    def __add__(self, other: timedelta) -> "Parameter":  # type: ignore[override]  # no CombinedExpression
        return Parameter(self.name, self.output_field, later=self.later + other)

    def __sub__(self, other: timedelta) -> "Parameter":  # type: ignore[override]  # likewise
        return self + -other

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, Any]:
        """Return a placeholder, and this object in place of its value."""
        return "%s", [self]


def as_expression(given: datetime | Parameter) -> Expression:
    """Return an instant, or the parameter for one, as an expression that database functions take."""
    return given if isinstance(given, Parameter) else Value(given)


class PreparedSelect:
    """A query set, read with other values each time. Decorates the function that returns it."""

    def __init__(self, rows: Callable[[], QuerySet[Any, Any]]) -> None:
        self._rows, self.__doc__ = rows, rows.__doc__
        self._built: dict[str, _Select] = {}

    def read(self, **given: Any) -> list[Any]:
        """Return the rows of the query set with these values in its parameters. One statement."""
        if connection.vendor not in self._built:
            self._built[connection.vendor] = _Select(self._rows())
        return self._built[connection.vendor].read(given)

    def first(self, **given: Any) -> Any:
        """Return the first row; None without one."""
        return next(iter(self.read(**given)), None)

    def get(self, **given: Any) -> Any:
        """Return the one row. Raises the model's DoesNotExist without one."""
        for row in self.read(**given):
            return row
        raise self._rows().model.DoesNotExist


@lru_cache(maxsize=512)
def prepared_select(rows: Callable[..., QuerySet[Any, Any]], *arguments: Hashable) -> PreparedSelect:
    """Return the statement that reads `rows(*arguments)`, the same one for the same arguments."""
    return PreparedSelect(partial(rows, *arguments))


class _Select:
    """The SQL of a query set for one kind of database. It keeps no connection: each thread has its own."""

    def __init__(self, rows: QuerySet[Any, Any]) -> None:
        self._rows = rows
        self._compiler = compiler = rows.query.get_compiler(connection=connections[rows.db])
        sql, parameters = compiler.as_sql()
        self._sql, self._parameters = sql, list(parameters)
        read = [one for one, _sql, _alias in compiler.select[: compiler.col_count]]
        self._converters = [
            (at, one, of_field)
            for at, one in enumerate(read)
            if (of_field := one.get_db_converters(compiler.connection))
            or compiler.connection.ops.get_db_converters(one)
        ]
        vars(compiler)["connection"] = None
        if compiler.klass_info:
            compiler.klass_info = _without_constructors(compiler.klass_info)

    def read(self, given: Mapping[str, Any]) -> list[Any]:
        """Run the statement; return the instances or tuples that the query set makes of its rows."""
        rows = cast("Any", self._rows)
        database = connections[rows.db]
        statement = _filled(self._sql, self._parameters, given, database)
        of_database = database.ops.get_db_converters
        # The converters of each column, by its number: the database's, then the field's.
        converters = {at: ([*of_database(one), *of_field], one) for at, one, of_field in self._converters}
        compiler = copy(self._compiler)
        vars(compiler).update(
            connection=database, as_sql=lambda: statement, get_converters=lambda _read: converters
        )
        query = SimpleNamespace(get_compiler=lambda *_args, **_options: compiler)
        # The part of a query set that makes instances and tuples, without the part that builds SQL.
        like = SimpleNamespace(query=query, db=rows.db, _known_related_objects={})
        return list(rows._iterable_class(like))


def _filled(
    sql: str, parameters: Sequence[Any], given: Mapping[str, Any], database: Any
) -> tuple[str, list[Any]]:
    """Return the SQL with the placeholders that these values need, and all values."""
    values: list[Any] = []
    written: list[str] = []  # replaces each placeholder of `sql`; empty: it stays
    for one in parameters:
        value, text = _filling(one, given[one.name], database) if isinstance(one, Parameter) else ([one], "")
        values += value
        written.append(text)
    if not any(written):
        return sql, values
    texts = iter(written)

    def placeholder(found: re.Match[str]) -> str:
        return found[0] if found[0] == "%%" else next(texts) or found[0]

    return _PLACEHOLDER.sub(placeholder, sql), values


def _filling(parameter: Parameter, given: Any, database: Any) -> tuple[list[Any], str]:
    """Return the values of a parameter, and the text that replaces its placeholder, if any."""
    if isinstance(parameter.output_field, JSONField):  # a list or a mapping is one value
        return _adapted(parameter, [given], database), ""
    if isinstance(given, Mapping):
        return _by_pk(parameter, given, database)
    if isinstance(given, list | tuple | set | frozenset):
        return _listed(_adapted(parameter, given, database), database)
    return _adapted(parameter, [given + parameter.later if parameter.later else given], database), ""


def _listed(values: list[Any], database: Any) -> tuple[list[Any], str]:
    """Return the parameters for a list of values, and the SQL that a column is one of them."""
    values = values or [None]
    if database.vendor == "postgresql" and len(values) > 1:
        return [values], "= ANY(%s)"  # one value for the driver
    return values, f"IN ({', '.join(['%s'] * len(values))})"


def _by_pk(parameter: Parameter, given: Mapping[Any, Iterable[int]], database: Any) -> tuple[list[Any], str]:
    """Return parameters and SQL that write each value to its rows, and leave other rows unchanged."""
    column, pk = (
        f"{database.ops.quote_name(one.model._meta.db_table)}.{database.ops.quote_name(one.column)}"
        for one in (parameter.output_field, parameter.output_field.model._meta.pk)
    )
    values: list[Any] = []
    cases = ""
    for value, pks in given.items():
        rows, condition = _listed(list(pks), database)
        values += [*rows, *_adapted(parameter, [value], database)]
        cases += f" WHEN {pk} {condition} THEN %s"
    return values, f"CASE{cases} ELSE {column} END" if cases else column


def _adapted(parameter: Parameter, values: Iterable[Any], database: Any) -> list[Any]:
    """Return values as the field prepares them for this database. None is NULL, in JSON fields too."""
    prepare = parameter.output_field.get_db_prep_value
    as_they_are = (NoneType, int, str) if isinstance(parameter.output_field, CharField) else (NoneType, int)
    return [value if type(value) in as_they_are else prepare(value, database) for value in values]


def _without_constructors(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return a compiler's class info by which all values of an instance are set at once, not field by field.

    A model with its own constructor or `from_db` keeps it.
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
    """An update of the same columns of a query set each time. Decorates the function that returns both.

    The query set and the values of the columns may have parameters.
    """

    def __init__(self, update: Callable[[], tuple[QuerySet[Any], Mapping[str, object]]]) -> None:
        self._update, self.__doc__ = update, update.__doc__
        self._built: dict[str, tuple[str, list[Any]]] = {}

    def run(self, **given: Any) -> int:
        """Update the rows with these values in the parameters; return their number. One statement.

        Runs in the caller's transaction, if there is one.
        """
        if connection.vendor not in self._built:
            rows, columns = self._update()
            query = cast(UpdateQuery, rows.query.chain(UpdateQuery))
            query.add_update_values(dict(columns))
            sql, parameters = query.get_compiler(connection=connection).as_sql()
            self._built[connection.vendor] = sql, list(parameters)
        statement = _filled(*self._built[connection.vendor], given, connections[connection.alias])
        with transaction.mark_for_rollback_on_error(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(*statement)
            return int(cursor.rowcount)
