"""Executors are only a wake-up: what they miss, the runner finds by `due_at`.

Embedded (`BURSARY_EXECUTOR=thread`): threads of the web process, started by `serve` in each worker after
it forked, never at import. `none`: no thread is woken; `bursary deliver` does the work.
"""

import logging
import threading

from django.conf import settings
from django.utils import timezone

from bursary.lib.threads import PollingThread

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
ROUND = 100  # actions between two checks whether to stop

_work_is_due = threading.Event()


def wake(**_signal: object) -> None:
    """Wake the runner threads of this process. Receives `actions.requested`."""
    if settings.EXECUTOR == "thread":
        _work_is_due.set()


def start_threads(count: int) -> list[PollingThread]:
    """Start `count` runner threads in this process; none where another executor is configured."""
    if settings.EXECUTOR != "thread":
        return []
    threads = [
        PollingThread(
            f"bursary-runner-{number}",
            _run,
            seconds=POLL_SECONDS,
            failure="A round of deliveries failed",
            log=logger,
            wake=_work_is_due,
        )
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    return threads


def _run() -> int:
    from bursary.delivery import notices, runner  # noqa: PLC0415  # 0.6 MB, where requests alone are received

    return runner.drain(clock=timezone.now, most=ROUND) + notices.send_due(clock=timezone.now)
