"""Short transactions that are tried again when the database chose them to give way to another."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connection, transaction

MOST_TRIES = 5
FIRST_PAUSE = 0.05  # seconds

_GIVEN_WAY = {
    "40001",  # PostgreSQL: could not serialize
    "40P01",  # PostgreSQL: deadlock
    1205,  # MySQL: waited too long for a lock
    1213,  # MySQL: deadlock
}

T = TypeVar("T")


def retried(work: Callable[[], T]) -> T:
    """Do `work` in a transaction of its own and return what it returns; at most `MOST_TRIES` times.

    Raises RuntimeError inside somebody's transaction: theirs would be held open meanwhile, and could not be
    tried again from here.
    """
    for tried in range(1, MOST_TRIES):
        try:
            with transaction.atomic(durable=True):
                return work()
        except OperationalError as error:
            if not gave_way(error):
                raise
        time.sleep(FIRST_PAUSE * 2**tried * random.random())  # noqa: S311  # spreads load; hides nothing
    with transaction.atomic(durable=True):
        return work()


def gave_way(error: OperationalError) -> bool:
    """Tell whether the database undid the transaction for another's sake, so that it may be tried again."""
    state = getattr(error.__cause__, "sqlstate", None)
    code = error.args[0] if error.args else None
    return state in _GIVEN_WAY or code in _GIVEN_WAY


def unique_fields(*fields: str) -> list[str] | None:
    """Return what an upsert goes by. MySQL goes by any unique field, and must not be told."""
    return [*fields] if connection.features.supports_update_conflicts_with_target else None
