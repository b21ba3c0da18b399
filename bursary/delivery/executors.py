"""Executors are only a wake-up: what they miss, the runner finds by `due_at`.

Embedded (`BURSARY_EXECUTOR=thread`): threads of the web process, started by `serve` in each worker after
it forked, never at import. `none`: no thread is woken; `bursary deliver` does the work.
"""

import logging
import threading

from django.conf import settings
from django.db import close_old_connections, connections
from django.utils import timezone

from bursary.delivery import notices, runner
from bursary.lib import logs

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
ROUND = 100  # actions between two checks whether to stop

_work_is_due = threading.Event()


def wake(**_signal: object) -> None:
    """Wake the runner threads of this process. Receives `actions.requested`."""
    if settings.EXECUTOR == "thread":
        _work_is_due.set()


def start_threads(count: int) -> list["RunnerThread"]:
    """Start `count` runner threads in this process; none where another executor is configured."""
    if settings.EXECUTOR != "thread":
        return []
    threads = [RunnerThread(number) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


class RunnerThread(threading.Thread):
    """Carries out due work whenever it is woken, and every few seconds."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"bursary-runner-{number}", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        """Work until stopped. A database that is away is waited for."""
        while not self._stopping.is_set():
            _work_is_due.clear()
            close_old_connections()
            if not self._drain():
                _work_is_due.wait(POLL_SECONDS)
        connections.close_all()

    def stop(self) -> None:
        """Finish the action in hand, then end."""
        self._stopping.set()
        _work_is_due.set()

    def _drain(self) -> int:
        try:
            tried = runner.drain(clock=timezone.now, most=ROUND)
            return tried + notices.send_due(clock=timezone.now)
        except Exception as error:  # noqa: BLE001  # a thread that dies stops every mail; it is logged
            logs.log_failure("A round of deliveries failed", error, log=logger)
            return 0
