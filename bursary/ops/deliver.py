"""Runs due actions from a command: once, or until stopped."""

import logging
import signal
import threading
from collections import Counter
from datetime import datetime

from django.utils import timezone

from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import executors, notices, runner
from bursary.delivery.models import MailServer
from bursary.lib import leases
from bursary.lib.batches import ProgressCallback, keyset_pages
from bursary.lib.threads import poll
from bursary.ops import health
from bursary.ops.models import ScheduledTask

logger = logging.getLogger(__name__)

CHUNK = 20  # actions between two reports of progress
BATCH = 500  # postponed actions that one statement makes due
IDLE_SECONDS = 5.0


def count_due(*, now: datetime) -> int:
    """Return the number of actions that are due."""
    return leases.count_due(LearnerContentAssignmentAction.objects.all(), now=now)


def deliver_once(*, now: datetime, on_progress: ProgressCallback) -> Counter[str]:
    """Attempt once each action that is due at `now`; return the number of actions by resulting status.

    A postponed action counts as pending; one that another worker has claimed counts as running.
    """
    notices.send_due(clock=timezone.now)
    actions = LearnerContentAssignmentAction.objects.all()
    ended: dict[int, str] = {}
    while True:
        pks = leases.first_due(actions, now=now, limit=CHUNK)
        if ended.keys() >= set(pks):
            return Counter(ended.values())
        runner.drain(clock=timezone.now, limit=len(pks), pks=pks)
        ended.update(actions.filter(pk__in=pks).values_list("pk", "status"))
        on_progress(len(ended))


def reschedule_dated_ahead(*, now: datetime) -> int:
    """Make actions and scheduled tasks due now that a wrong clock dated in the future; return their number.

    A row that a worker has claimed stays claimed until its lease ends.
    """
    brought = 0
    while pks := health.actions_ahead(now):
        rows = LearnerContentAssignmentAction.objects.filter(pk__in=pks)
        brought += leases.schedule(rows, at=now, now=now, modified=now)
    tasks = ScheduledTask.objects.filter(finished_at__gt=now + health.LONGEST_SKEW)
    return brought + leases.schedule(tasks, at=now, now=now, finished_at=now)


def make_postponed_due(*, now: datetime) -> int:
    """Make postponed actions due now, and end the mail server's pause; return the number of actions.

    Actions that a worker has claimed are left unchanged.
    """
    leases.schedule(MailServer.objects.filter(due_at__gt=now, lease_until=None), at=now, now=now)
    actions = LearnerContentAssignmentAction.objects.all()
    postponed = actions.filter(early=leases.NOT_BEFORE, due_at__gt=now, lease_until=None)
    pages = keyset_pages(postponed.values_list("pk", flat=True), size=BATCH)
    return sum(leases.schedule(postponed.filter(pk__in=pks), at=now, now=now) for pks in pages)


def deliver_until(stop: threading.Event) -> int:
    """Run actions as they become due until `stop` is set; return the number of actions attempted.

    While the database does not answer, it waits and tries again.
    """
    tried = 0

    def run_round() -> int:
        nonlocal tried
        done = executors.run_round()
        tried += done
        return done

    poll(run_round, stop=stop, seconds=IDLE_SECONDS, failure="A round of deliveries failed", log=logger)
    return tried


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` when this process is interrupted or terminated."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_signal: stop.set())
