"""Threads that work until they are stopped."""

import logging
import threading
from collections.abc import Callable, Sized

from django.db import close_old_connections, connections

from bursary.lib import outages


class PollingThread(threading.Thread):
    """Calls `work` until stopped: again at once if it did something, else when woken or after some seconds.

    An error, such as an unavailable database, is logged as `failure`, and `work` is called again.
    """

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
        self.seconds = seconds
        self._work, self._failure, self._log = work, failure, log
        self._wake = wake or threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopping.is_set():
            self._wake.clear()
            close_old_connections()
            done: Sized | int = 0
            with outages.errors_logged(self._failure, log=self._log):
                done = self._work()
            if not done and not self._stopping.is_set():
                self._wake.wait(self.seconds)
        connections.close_all()

    def stop(self) -> None:
        """Let the running work finish, then end."""
        self._stopping.set()
        self._wake.set()
