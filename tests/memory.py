"""How much memory a piece of work needs at one time."""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from itertools import count

from django.db import connection
from django.db.backends.utils import CursorWrapper

LEAST = 150_000
"""Bytes from which on two peaks may be compared: what the process adds is up to 20 kB."""
EVERY = 8
"""Statements after which the caches are emptied."""
_OTHERS = [f"SELECT {number}" for number in range(128)]  # as many as sqlite3 keeps


def peak_while(working: Callable[[], object]) -> int:
    """Return the most bytes that were in use at one time, by any thread.

    Garbage in cycles is collected before each statement to the database, and at no other time. When the
    collector runs otherwise depends on all that the process did before, and what waits for it may be more
    than what is measured. Caches that fill with the number of statements are emptied for the same reason.
    """
    gc.collect()
    gc.freeze()  # to collect is quick then
    gc.disable()
    tracemalloc.start()
    try:
        with connection.execute_wrapper(_tidying()):
            working()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()


def is_hardly_more(peak: int, *, than: int) -> bool:
    """Return whether a peak is another one, but for what the process adds."""
    assert than > LEAST, f"{than} bytes are too few to compare with: let the records be longer"
    return peak < 1.3 * than


def _tidying() -> Callable[..., CursorWrapper]:
    """Return what executes a statement without garbage, and now and then without caches."""
    numbers = count()

    def execute_tidily(
        execute: Callable[..., CursorWrapper],
        sql: str,
        params: object,
        many: bool,
        context: dict[str, object],
    ) -> CursorWrapper:
        if next(numbers) % EVERY == 0:
            _empty_caches()
        gc.collect()
        return execute(sql, params, many, context)

    return execute_tidily


def _empty_caches() -> None:
    """Let go of names that attributes were looked up by, and of the texts of the last statements."""
    getattr(sys, "_clear_internal_caches", sys._clear_type_cache)()  # the former from Python 3.13 on
    if connection.vendor == "sqlite":
        cursor = connection.connection.cursor()  # not Django's, which would ask to be tidy again
        for sql in _OTHERS:
            cursor.execute(sql)
