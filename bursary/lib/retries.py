"""Retries: transactions and statements repeated after a deadlock, exponential back-off, and jitter.

`in_transaction` opens the transaction, and refuses to be part of another: for work that is committed before
its caller goes on, such as claims, counts of requests and the replica's batches. `repeated_after_deadlocks`
decorates a function that opens its own transaction and may also be one step of its caller's, such as the
verbs of assignments, or that is a transaction of Django's, such as `delete()` and `get_or_create()`.
"""

import random
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import stamina
from django.db import OperationalError, connection, transaction
from django.db.backends.signals import connection_created

from bursary.lib.database_errors import DEADLOCK_CODES, code_of

ATTEMPTS = 8  # a new refresh, met by three others on a busy MariaDB, was undone five times in a row

P = ParamSpec("P")
T = TypeVar("T")


def in_transaction(work: Callable[[], T]) -> T:
    """Run `work` in a transaction of its own and return its result; at most `ATTEMPTS` times after deadlocks.

    Raises RuntimeError inside another transaction, which stays open meanwhile and cannot be repeated here.
    """

    def attempt() -> T:
        with transaction.atomic(durable=True):
            return work()

    return _repeat(attempt)


def repeated_after_deadlocks(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function that writes in one transaction: run it up to `ATTEMPTS` times after deadlocks.

    The function must read again what it changes, and have no other effect. Inside a caller's transaction it
    runs once: a deadlock rolls that back as well.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        return _repeat(lambda: function(*args, **kwargs))

    return run


def register() -> None:
    """Run each statement outside a transaction again after a deadlock, on all connections from now on.

    On MariaDB an UPDATE of one row by its key may be the victim, where others insert beside it. A lone
    `bulk_create`, or a `delete()` of a query set, is a transaction of Django's: see `in_transaction`.
    """
    connection_created.connect(repeat_lone_statements, dispatch_uid="bursary.lib.retries")


def repeat_lone_statements(connection: Any, **_signal: Any) -> None:
    """Repeat the lone statements of one connection. One that was lost is opened again."""
    if _repeated not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _repeated)


def _repeated(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    try:
        return execute(sql, params, many, context)
    except OperationalError as error:
        if many or context["connection"].in_atomic_block or not is_deadlock(error):
            raise
    return _repeat(lambda: execute(sql, params, many, context))


def _repeat(work: Callable[[], T]) -> T:
    """Run `work`, after deadlocks again, at most `ATTEMPTS` times; return its result."""
    for attempt in stamina.retry_context(
        on=is_deadlock, attempts=ATTEMPTS, timeout=None, wait_initial=0.05, wait_max=0.8, wait_jitter=0.2
    ):
        with attempt:
            return work()
    raise AssertionError("stamina returns or raises")


def jittered(seconds: float) -> float:
    """Return between half and one and a half times as many seconds, so that processes do not act at once."""
    return seconds * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load; hides nothing


def back_off(failures: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """Return the wait after so many failures in a row: full jitter, a random fraction of the ceiling."""
    return back_off_ceiling(failures, first=first, longest=longest) * random.random()  # noqa: S311  # no secret


def back_off_ceiling(failures: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """Return the ceiling of `back_off`: `first`, doubled by each further failure up to `longest`."""
    return min(longest, first * (1 << min(max(failures, 1) - 1, 16)))


def is_deadlock(error: Exception) -> bool:
    """Return whether the database rolled a transaction back in favour of another, so that it may be repeated.

    MySQL's 1205 is not one: the wait for a lock timed out, and the transaction is not rolled back.
    """
    if not isinstance(error, OperationalError):
        return False
    return code_of(error) in DEADLOCK_CODES
