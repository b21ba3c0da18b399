"""How much memory a piece of work needs at one time."""

import gc
import tracemalloc
from collections.abc import Callable

from django.db import connection
from django.db.backends.utils import CursorWrapper


def peak_while(working: Callable[[], object]) -> int:
    """Return the most bytes that were in use at one time.

    Garbage in cycles is collected before each statement to the database, and at no other time. When the
    collector runs otherwise depends on all that the process did before, and what waits for it may be more
    than what is measured.
    """
    gc.collect()
    gc.freeze()  # to collect is quick then
    gc.disable()
    tracemalloc.start()
    try:
        with connection.execute_wrapper(_without_garbage):
            working()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()


def _without_garbage(
    execute: Callable[..., CursorWrapper], sql: str, params: object, many: bool, context: dict[str, object]
) -> CursorWrapper:
    gc.collect()
    return execute(sql, params, many, context)
