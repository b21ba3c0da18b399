"""Doing things at the same moment, each in a thread and on a database connection of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection, connections

Result = TypeVar("Result")


def together(calls: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """Call everything at once; return each result, or the exception that it raised, in order."""
    ready = threading.Barrier(len(calls), timeout=120)

    def run(call: Callable[[], Result]) -> Result | Exception:
        ready.wait()
        try:
            return call()
        except Exception as raised:  # noqa: BLE001  # the test looks at it
            return raised
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Meeting:
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


_WAITING = {
    "postgresql": "SELECT COUNT(*) FROM pg_locks WHERE NOT granted",
    "mysql": "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
}


def until_a_lock_is_waited_for() -> None:
    """Wait until a transaction waits for another's lock."""
    deadline = time.monotonic() + 120
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(_WAITING[connection.vendor])
            if cursor.fetchone()[0]:
                return
            time.sleep(0.15)  # InnoDB reads its transactions anew only 0.1 s after the last question
    raise TimeoutError
