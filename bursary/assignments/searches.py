"""Searches in long lists: matches are searched for once, and PostgreSQL estimates the number of very many.

Decision 0030. A search is a condition on text: its cost is that of all rows read, and databases misjudge the
number of matches. So a page first reads the primary keys of the matches, and uses these from then on.
"""

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import QuerySet

MAX_COUNTED = 1_000
"""The most matches that are counted on PostgreSQL; the number of more is estimated."""

INDEX = "assignment_trigrams"
EXTENSION = "pg_trgm"
CREATE_INDEX = (
    f"CREATE INDEX CONCURRENTLY {INDEX} ON assignments_learnercontentassignment USING gin"
    " (content_title gin_trgm_ops, upper(learner_email::text) gin_trgm_ops)"
)
"""The statement of migration 0017 on PostgreSQL. Without the index, searches find the same, more slowly."""


@dataclass(frozen=True)
class SearchResult:
    """The rows that a search finds."""

    rows: QuerySet[Any]
    """The matches; up to `MAX_COUNTED` of them by primary keys, so that further queries are fast."""
    are_estimated: bool = False
    """There are more than `MAX_COUNTED`, and their number is an estimate."""


def find(rows: QuerySet[Any]) -> SearchResult:
    """Return the rows that a search finds. One query."""
    keys = _first_keys(rows)
    if len(keys) > MAX_COUNTED:
        return SearchResult(rows, are_estimated=connection.vendor == "postgresql")
    return SearchResult(rows.filter(pk__in=keys))


def _first_keys(rows: QuerySet[Any]) -> list[int]:
    """Return the primary keys, unordered; at most one more than `MAX_COUNTED`.

    On PostgreSQL, MATERIALIZED makes a plan for all matches, which stops after enough of them. The plan for a
    LIMIT alone would read the table until it has found so many: all of it, if there are none.
    """
    keys = rows.order_by().values_list("pk", flat=True)
    if connection.vendor != "postgresql":
        return list(keys[: MAX_COUNTED + 1])
    try:
        sql, parameters = keys.query.sql_with_params()
    except EmptyResultSet:
        return []
    limited = f"WITH found AS MATERIALIZED ({sql}) SELECT * FROM found LIMIT {MAX_COUNTED + 1}"  # noqa: S608  # the ORM's
    with connection.cursor() as cursor:
        cursor.execute(limited, parameters)
        return [key for (key,) in cursor.fetchall()]


def estimates(*queries: QuerySet[Any]) -> list[int]:
    """Return how many rows PostgreSQL expects of each, to two digits. One statement, which reads no row.

    0 also stands for one: it expects no less of anything.
    """
    written = [one.order_by().values_list("pk", flat=True).query.sql_with_params() for one in queries]
    arrays = ", ".join(f"ARRAY({sql})" for sql, _parameters in written)
    with connection.cursor() as cursor:
        parameters = [value for _sql, values in written for value in values]
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT {arrays}", parameters)
        [([explained],)] = cursor.fetchall()
    # None of the arrays is a part of another, so their plans stand beside each other, in their order.
    expected = [plan["Plan Rows"] for plan in explained["Plan"]["Plans"]]
    return [rounded(number) if number > 1 else 0 for number in expected]


def rounded(number: float) -> int:
    """Return a number to two digits, as an estimate is shown."""
    return int(round(number, 2 - len(str(round(number)))))


def total(estimated: int, *, seen: int, has_more: bool) -> int:
    """Return the number of more than `MAX_COUNTED` matches, from its estimate and what a page shows.

    `seen` are the matches up to its end: all of them, unless it `has_more`.
    """
    return max(rounded(estimated), MAX_COUNTED, seen + 1) if has_more else seen
