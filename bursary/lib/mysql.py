"""SQL for MySQL and MariaDB where Django's own would have another result than on other databases."""

from datetime import datetime
from typing import Any

from django.db.models import Field, Value, lookups

IGNORE_CASE = (lookups.IExact, lookups.IContains, lookups.IStartsWith, lookups.IEndsWith)


def register() -> None:
    """Change the SQL of case-insensitive lookups and of instants in expressions there."""
    for lookup in IGNORE_CASE:
        Field.register_lookup(type(lookup.__name__, (lookup,), {"as_mysql": _in_capitals}))
    Value.as_mysql = _typed  # type: ignore[attr-defined]  # found by the name of the engine


def _in_capitals(lookup: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
    """Compare both sides in capitals, as on PostgreSQL: the collation compares code points."""
    lhs, params = lookup.process_lhs(compiler, connection)
    rhs, more = lookup.process_rhs(compiler, connection)
    operator, pattern = lookup.get_rhs_op(connection, rhs).split(" ", 1)
    return f"UPPER({lhs}) {operator} UPPER({pattern})", [*params, *more]


def _typed(value: Any, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
    """Cast an instant to its type. As text, it would turn COALESCE, LEAST, CASE and comparisons into text."""
    sql, params = value.as_sql(compiler, connection)
    return (f"TIMESTAMP {sql}" if isinstance(value.value, datetime) else sql), params
