"""Doing things at the same moment, each in a thread and on a database connection of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

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
