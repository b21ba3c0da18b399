"""Executors wake the runner. Without a wake-up, it finds due work by `due_at` later.

`BURSARY_EXECUTOR=thread`: threads of the web process, which `serve` starts in each worker after the fork,
never at import. `celery`: messages wake workers. `none`: nothing is woken, and `bursary deliver` does the
work.
"""

import logging
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.conf import settings
from django.utils import timezone

from bursary.lib.threads import PollingThread

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
ROUND, ROUND_SECONDS = 100, 5.0
"""A round of a thread: at most so many actions, and at most so long. Between rounds it may stop."""
ACTIONS_PER_MESSAGE = 20
MAX_MESSAGES = 10  # at once: as many workers begin, and each goes on as long as work is due

_work_is_due = threading.Event()


def wake(*, pks: Sequence[int] = (), **_signal: object) -> None:
    """Wake the runner threads of this process, or workers, more for many actions.

    Receives `actions.requested`. Raises nothing if the broker is unavailable.
    """
    if settings.EXECUTOR == "thread":
        _work_is_due.set()
    elif settings.EXECUTOR == "celery":
        module = _broker()
        module.BROKER.send(module.DELIVER, count=min(1 + len(pks) // ACTIONS_PER_MESSAGE, MAX_MESSAGES))


def broker() -> Any:
    """Return how this process reaches the broker (`broker.BROKER`); None without Celery."""
    return _broker().BROKER if settings.EXECUTOR == "celery" else None


def probe() -> None:
    """Check whether the broker answers, if there is one, within two seconds."""
    if settings.EXECUTOR == "celery":
        module = _broker()
        module.BROKER.send(module.DELIVER, count=0)


def carry_out(*, seconds: float) -> bool:
    """Carry out due work for at most so many seconds; return whether some may be left."""
    from bursary.delivery import notices, runner  # noqa: PLC0415  # 0.6 MB, where requests alone are received

    until = time.monotonic() + seconds
    notified = notices.send_due(clock=timezone.now, limit=1)
    while time.monotonic() < until:
        if not runner.drain(clock=timezone.now, limit=ROUND, seconds=until - time.monotonic()):
            return bool(notified)
    return True


def start_threads(count: int) -> list[PollingThread]:
    """Start `count` runner threads in this process; none where another executor is configured."""
    if settings.EXECUTOR != "thread":
        return []
    threads = [
        PollingThread(
            f"bursary-runner-{number}",
            run_round,
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


def run_round() -> int:
    """Carry out due work for some `ROUND_SECONDS`, then send notices; return how many of both were tried."""
    from bursary.delivery import notices, runner  # noqa: PLC0415  # 0.6 MB, where requests alone are received

    drained = runner.drain(clock=timezone.now, limit=ROUND, seconds=ROUND_SECONDS)
    return drained + notices.send_due(clock=timezone.now)


def _broker() -> Any:
    return import_module("bursary.delivery.broker")  # only where the extra `celery` is installed
