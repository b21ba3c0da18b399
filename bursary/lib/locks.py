"""Row locks, as each engine needs them. Only this module calls `select_for_update`."""

from typing import Any, TypeVar, cast

from django.db import connection
from django.db.models import Model, QuerySet

from bursary.lib.retries import in_transaction

Locked = TypeVar("Locked", bound=Model)


def for_update(rows: QuerySet[Locked], *, skip_locked: bool = False) -> QuerySet[Locked]:
    """Return `rows` locked until the transaction ends; with `skip_locked`, without those locked by others.

    Other writers wait; inserts that only refer to a locked row do not, by PostgreSQL's NO KEY UPDATE. MySQL's
    FOR UPDATE waits for such inserts, outside the lock order (decision 0016). SQLite locks the whole file.
    Order `rows`, each model's everywhere in the same way; those of a LeasedRow by `locked_in_order`.
    """
    return rows.select_for_update(
        no_key=connection.features.has_select_for_no_key_update,
        skip_locked=skip_locked and connection.features.has_select_for_update_skip_locked,
    )


def locked_in_order(rows: QuerySet[Locked], *, skip_locked: bool = False) -> QuerySet[Locked]:
    """Return `rows`, of a LeasedRow, locked one after the other in their model's `LOCK_ORDER`.

    Two transactions that lock the same rows wait for each other in turn, and not in a circle. InnoDB locks
    rows as it finds them, before it sorts them: there a circle is possible, and a deadlock is repeated.
    """
    order: tuple[str, ...] = cast("Any", rows.model).LOCK_ORDER
    return for_update(rows.order_by(*order), skip_locked=skip_locked)


def update_in_order(rows: QuerySet[Any], **columns: object) -> int:
    """Lock rows in their model's `LOCK_ORDER` and update them, in the caller's or an own transaction."""

    def write() -> int:
        pks = list(locked_in_order(rows).values_list("pk", flat=True))
        return rows.model._default_manager.filter(pk__in=pks).update(**columns) if pks else 0

    return write() if connection.in_atomic_block else in_transaction(write)
