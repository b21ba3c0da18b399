"""Celery's processes: `bursary worker` and `bursary beat`.

Needs the extra `celery`; its app is made in `config/celery_app.py`.
"""

import logging
import os
import socket
from collections.abc import Sequence

from celery import current_app
from django.conf import settings
from django.db import connections

from bursary.delivery import broker

CONCURRENCY = 5
"""Processes of a worker: as many as `serve` has threads, so that mails do not wait for a long task."""
KINDS = {"deliveries": broker.DELIVER, "tasks": broker.TICK}
"""The kinds of work that a worker may be restricted to."""


def run_worker(*, concurrency: int = CONCURRENCY, kinds: Sequence[str] = tuple(KINDS)) -> int:
    """Handle messages until stopped; return the exit code. On SIGTERM, tasks that run are finished."""
    # A connection must not be shared with the processes that are forked from this one.
    connections.close_all()
    worker = current_app.Worker(
        concurrency=concurrency,
        queues=[broker.QUEUES[KINDS[kind]] for kind in kinds],
        # With the process id, names are unique if several workers run on a machine.
        hostname=f"bursary-{os.getpid()}@{socket.gethostname()}",
        loglevel=logging.getLevelName(settings.LOG_LEVEL),
        quiet=True,
        # Workers need not know of each other, and without a broker these features log a stack trace.
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def run_beat() -> None:
    """Send the messages that wake workers until stopped."""
    connections.close_all()
    current_app.Beat(loglevel=settings.LOG_LEVEL, quiet=True).run()
