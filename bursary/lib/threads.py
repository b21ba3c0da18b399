"""Polling: work that is repeated until it is stopped, in this thread or another."""

import logging
import threading
from collections.abc import Callable, Sized
from functools import partial

from django.db import close_old_connections, connections

from bursary.lib import outages


def poll(
    work: Callable[[], Sized | int],
    *,
    stop: threading.Event,
    wake: threading.Event | None = None,
    seconds: float,
    failure: str,
    log: logging.Logger,
) -> None:
    """Call `work` until `stop` is set: again at once if it did something, else when woken or after `seconds`.

    An error, such as an unavailable database, is logged as `failure`, and `work` is called again. To stop it
    at once, set `wake` as well.
    """
    while not stop.is_set():
        if wake:
            wake.clear()
        close_old_connections()
        done: Sized | int = 0
        with outages.errors_logged(failure, log=log):
            done = work()
        if not done and not stop.is_set():
            (wake or stop).wait(seconds)


class PollingThread(threading.Thread):
    """Calls `work` by `poll` until stopped."""

    def __init__(
        self,
        name: str,
        work: Callable[[], Sized | int],
        *,
        seconds: float,
        failure: str,
        log: logging.Logger,
        wake: threading.Event | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._stopping, self._wake = threading.Event(), wake or threading.Event()
        self._poll = partial(
            poll, work, stop=self._stopping, wake=self._wake, seconds=seconds, failure=failure, log=log
        )

    def run(self) -> None:
        """Work until stopped."""
        self._poll()
        connections.close_all()

    def stop(self) -> None:
        """Let the running work finish, then end."""
        self._stopping.set()
        self._wake.set()
