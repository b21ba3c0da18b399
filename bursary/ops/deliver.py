"""Doing due work from a command: once, or until told to stop."""

import logging
import signal
import threading
from collections import Counter
from datetime import datetime

from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import notices, runner
from bursary.lib import logs
from bursary.ops.console import Advance

logger = logging.getLogger(__name__)

CHUNK = 20  # actions between two looks at the progress
ROUND = 100  # actions between two looks at whether to stop
IDLE_SECONDS = 5.0


def count_due(*, now: datetime) -> int:
    """Return how many actions are due."""
    return LearnerContentAssignmentAction.objects.due(now).count()


def deliver_once(*, now: datetime, advance: Advance) -> Counter[str]:
    """Try once everything that is due at `now`; return how many actions ended in which status.

    What is postponed counts as pending, and what another worker has taken up as running.
    """
    notices.send_due(clock=timezone.now)
    ended: dict[int, str] = {}
    while True:
        due = LearnerContentAssignmentAction.objects.due(now)
        pks = list(due.values_list("pk", flat=True)[:CHUNK])
        if ended.keys() >= set(pks):
            return Counter(ended.values())  # nothing is left, or nothing but what somebody else holds
        runner.drain(clock=timezone.now, most=len(pks), pks=pks)
        tried = LearnerContentAssignmentAction.objects.filter(pk__in=pks)
        ended.update(tried.values_list("pk", "status"))
        advance(len(ended))


def deliver_until(stop: threading.Event) -> int:
    """Do due work as it comes until `stop` is set; return how many actions were tried.

    A database that is away is waited for, not given up on.
    """
    tried = 0
    while not stop.is_set():
        close_old_connections()
        done = 0
        try:
            done = runner.drain(clock=timezone.now, most=ROUND) + notices.send_due(clock=timezone.now)
        except DatabaseError as error:
            logs.log_failure("A round of deliveries broke off", error, log=logger)
        tried += done
        if not done:
            stop.wait(IDLE_SECONDS)
    return tried


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` when this process is interrupted or terminated."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_signal: stop.set())
