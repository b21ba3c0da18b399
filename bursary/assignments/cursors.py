"""Pages of long lists by cursor: a page costs the same however many rows come before it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.core.signing import b64_decode, b64_encode
from django.db.models import F, OrderBy, Q, QuerySet

from bursary.lib.texts import is_storable

UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""The errors of reading a text that is no cursor: infinity, a date out of range, a thousand brackets."""


@dataclass(frozen=True)
class CursorPage:
    """The primary keys of a page, in order, and the cursors of its neighbours; empty where there is none."""

    pks: Sequence[int]
    earlier: str
    later: str
    understood: bool = True
    """The cursor was one of this list, or none was given."""


def cursor_page(
    rows: QuerySet[Any], *, column: str, descending: bool, size: int, cursor: str = ""
) -> CursorPage:
    """Return a page of `rows` ordered by `column`, which is not NULL, and then by primary key.

    One query, by an index range if `column` and the key are indexed. A cursor of another order, or an invalid
    one, means the first page. The filter may differ from page to page: a cursor is a position in the order.
    """
    order = f"-{column}" if descending else column
    before, place = _read(cursor, order=order)
    try:
        found = _after(rows, place, column=column, descending=descending != before)[: size + 1]
        keys = list(found.values_list("pk", column))
    except (*UNREADABLE, ValidationError, FieldError):  # a cursor of another column
        first = cursor_page(rows, column=column, descending=descending, size=size)
        return replace(first, understood=False)
    more, keys = len(keys) > size, keys[:size]
    if before:
        keys.reverse()
    is_first = not place or (before and not more)
    is_last = not (before or more)
    return CursorPage(
        pks=[pk for pk, _value in keys],
        earlier="" if is_first or not keys else _written(True, keys[0], order=order),
        later="" if is_last or not keys else _written(False, keys[-1], order=order),
        understood=bool(place or not cursor),
    )


def _after(
    rows: QuerySet[Any], place: tuple[Any, int] | None, *, column: str, descending: bool
) -> QuerySet[Any]:
    """Return the rows in order, those behind `place` alone."""
    if place:
        value, pk = place
        value = rows.model._meta.get_field(column).to_python(value)
        if isinstance(value, datetime):
            value = value.astimezone(UTC)  # refused here, and not by the database, where it is out of range
        beyond = "lt" if descending else "gt"
        # The first condition is the range of the index, the others decide among equal values.
        rows = rows.filter(
            Q(**{f"{column}__{beyond}e": value})
            & (Q(**{f"{column}__{beyond}": value}) | Q(**{f"pk__{beyond}": pk}))
        )
    return rows.order_by(OrderBy(F(column), descending=descending), OrderBy(F("pk"), descending=descending))


def _written(before: bool, key: tuple[int, Any], *, order: str) -> str:
    pk, value = key
    text = value.isoformat() if isinstance(value, datetime) else value
    return b64_encode(json.dumps([int(before), text, pk, order]).encode()).decode()


def _read(cursor: str, *, order: str) -> tuple[bool, tuple[Any, int] | None]:
    """Return whether a cursor of this order leads to earlier rows, and the value and key where it stands."""
    try:
        before, value, pk, its_order = json.loads(b64_decode(cursor.encode()))
        # No row has what databases refuse, and PostgreSQL refuses to look for it, too.
        if its_order != order or not is_storable(str(value)):
            return False, None
        return bool(before), (value, int(pk))
    except UNREADABLE:
        return False, None
