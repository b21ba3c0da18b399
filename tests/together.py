"""Doing things at the same moment, each in a thread and on a database connection of its own."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection, connections

from tests.innodb import transactions_in_this_database

Result = TypeVar("Result")
_LEFT: defaultdict[str, list[Any]] = defaultdict(list)
"""Connections that no thread uses, by their settings."""
_MAX_LEFT = 8  # of the hundred that PostgreSQL gives all processes of a test run


@contextmanager
def _connection_left() -> Iterator[None]:
    """Use a connection that a thread of an earlier test has left, if there is one, and leave it to the next.

    PostgreSQL starts a process for each new one, which reads the tables' descriptions anew.
    """
    left = _LEFT[repr(connection.settings_dict)]
    with suppress(IndexError):
        connections[DEFAULT_DB_ALIAS] = left.pop()
    try:
        yield
    except BaseException:
        connections.close_all()  # it may be in a transaction
        raise
    own = connections[DEFAULT_DB_ALIAS]
    if own.vendor == "postgresql" and not own.in_atomic_block and len(left) < _MAX_LEFT:
        own.inc_thread_sharing()
        left.append(own)
    else:
        own.close()


def together(calls: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """Call everything at once; return each result, or the exception that it raised, in order."""
    ready = threading.Barrier(len(calls), timeout=120)

    def run(call: Callable[[], Result]) -> Result | Exception:
        try:
            with _connection_left():
                ready.wait()
                return call()
        except Exception as raised:  # noqa: BLE001  # the test looks at it
            return raised

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Arrivals:
    """A point that threads come to, and for which others wait."""

    def __init__(self) -> None:
        self._came: set[int] = set()
        self._changed = threading.Condition()

    def come(self) -> None:
        """Note that this thread has come."""
        with self._changed:
            self._came.add(threading.get_ident())
            self._changed.notify_all()

    def after(self, call: Callable[[], Result]) -> Callable[[], Result]:
        """Return the call; at its end, its thread comes."""

        def called() -> Result:
            try:
                return call()
            finally:
                self.come()

        return called

    def wait_for(self, count: int) -> None:
        """Wait until so many threads have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._came) >= count, timeout=120)


_WAITING = """
    SELECT COUNT(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN (
        SELECT pid FROM pg_locks JOIN pg_database own ON own.oid = database WHERE datname = current_database()
    )
"""
"""In this database: the other processes of a test run have others, on the same server."""


def _waiting_for_a_lock() -> int:
    if connection.vendor == "mysql":
        return sum(one.waits for one in transactions_in_this_database())
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        [(count,)] = cursor.fetchall()
    return int(count)


def until_a_lock_is_waited_for(*, by: int = 1) -> None:
    """Wait until a transaction, or so many, wait for another's lock."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if _waiting_for_a_lock() >= by:
            return
        time.sleep(0.05)
    raise TimeoutError
