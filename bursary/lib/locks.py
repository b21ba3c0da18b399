"""Row locks, as each engine needs them. `select_for_update` is called here alone."""

from typing import TypeVar

from django.db import connection
from django.db.models import Model, QuerySet

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
