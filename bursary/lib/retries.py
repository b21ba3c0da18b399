"""Trying again: transactions after a deadlock, and the jitter of a pause."""

import random
from collections.abc import Callable
from typing import TypeVar

import stamina
from django.db import OperationalError, transaction

from bursary.lib.trouble import code_of

ATTEMPTS = 5

_VICTIM = {
    "40001",  # PostgreSQL: could not serialize
    "40P01",  # PostgreSQL: deadlock
    1205,  # MySQL: waited too long for a lock
    1213,  # MySQL: deadlock
}

T = TypeVar("T")


def in_transaction(work: Callable[[], T]) -> T:
    """Run `work` in a transaction of its own and return its result; at most `ATTEMPTS` times after deadlocks.

    Raises RuntimeError inside another transaction, which would be held open meanwhile and could not be run
    again from here.
    """
    for attempt in stamina.retry_context(
        on=is_deadlock, attempts=ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=0.8, wait_jitter=0.2
    ):
        with attempt, transaction.atomic(durable=True):
            return work()
    raise AssertionError("stamina returns or raises")


def jittered(seconds: float) -> float:
    """Return between half and one and a half times as many seconds: processes then return one by one."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load; hides nothing


def is_deadlock(error: Exception) -> bool:
    """Return whether the database undid a transaction for another's sake, so that it may run again."""
    if not isinstance(error, OperationalError):
        return False
    return code_of(error) in _VICTIM
