"""Row locks, as each engine needs them. `select_for_update` is called here alone."""

from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

from bursary.lib.retries import in_transaction

Locked = TypeVar("Locked", bound=Model)


def for_update(rows: QuerySet[Locked], *, skip_locked: bool = False) -> QuerySet[Locked]:
    """Return `rows` locked until the transaction ends; with `skip_locked`, without those locked by others.

    Writers wait, and rows that only refer to these do not: PostgreSQL's NO KEY UPDATE. MySQL's plain FOR
    UPDATE waits for inserts that refer to the row, out of the order of locks: see decision 0016. SQLite locks
    the whole file instead. Give `rows` an order: the order in which all of a model's rows are locked
    everywhere.
    """
    return rows.select_for_update(
        no_key=connection.features.has_select_for_no_key_update,
        skip_locked=skip_locked and connection.features.has_select_for_update_skip_locked,
    )


def update_in_order(rows: QuerySet[Any], **columns: object) -> int:
    """Update rows, locked in their model's `LOCK_ORDER`, in the caller's transaction or in one of its own."""

    def write() -> int:
        pks = list(for_update(rows.order_by(*rows.model.LOCK_ORDER)).values_list("pk", flat=True))
        return rows.model._default_manager.filter(pk__in=pks).update(**columns) if pks else 0

    return write() if connection.in_atomic_block else in_transaction(write)
