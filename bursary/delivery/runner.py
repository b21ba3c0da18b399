"""The runner: claim actions that are due, attempt each, finish it.

A few are claimed at a time (decision 0022). When its turn comes, an action's lease is renewed, so that it has
to last for one send only; actions that have not begun within a second are released. Nothing is sent inside a
transaction. A worker that outlives its lease writes nothing, because another claim has raised the row's
`fence`.
"""

import logging
import time
import traceback
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf

from django.conf import settings
from django.db.models import QuerySet

from bursary.assignments import actions, outcomes
from bursary.assignments.choices import MAILS, ActionType, ErrorReason
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.assignments.outcomes import AttemptResult, Failed, Failure, NotTried, Postponed
from bursary.delivery import emails, handlers, mail_connection, mail_server, sending_rate
from bursary.delivery.errors import LONGEST_OUTAGE, DeliveryError, MailsPaused
from bursary.lib import leases, retries
from bursary.lib.clock import Clock

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 20
"""The most attempts after unknown errors and dead workers. Attempts after known temporary errors are limited
by time instead."""
FIRST_BATCH, BATCH = 5, 20
"""Actions claimed at a time: at first, and at most."""
BATCH_SECONDS = 1.0
"""Claimed actions that have not begun by then are released, so that a slow send does not delay them."""
LOOK_AHEAD = 200
"""The number of due actions that are searched for other work than mails, while no mail may be sent."""
MAX_WAIT_SECONDS = 1.0
"""The longest wait for the sending rate before due actions are read again."""
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
"""The longest wait after the first failed attempt, and after any: see `wait_after`."""


def drain(*, clock: Clock, limit: int, pks: Sequence[int] | None = None, seconds: float = inf) -> int:
    """Carry out at most `limit` due actions (of `pks`, if given); return how many were tried.

    None begins later than after so many `seconds`.
    """
    rows = LearnerContentAssignmentAction.objects.all
    due = rows() if pks is None else rows().filter(pk__in=pks)
    ends_at, tried, full, size = time.monotonic() + seconds, 0, False, FIRST_BATCH
    with mail_connection.kept_open():
        while tried < limit and time.monotonic() < ends_at:
            # Checked before the claim, so that an idle runner neither takes a write lock nor waits for one.
            if not full and not leases.any_due(rows, now=clock(), pks=pks):
                break
            mails = sending_rate.available(now=clock())
            chosen = pks if mails != 0 else _without_mails(due, now=clock())
            if mails == 0 and not chosen:  # for the rate, with nothing claimed, and no longer than the round
                wait = retries.jittered(sending_rate.wait(now=clock()).total_seconds())
                time.sleep(max(0.0, min(wait, ends_at - time.monotonic(), MAX_WAIT_SECONDS)))
                continue
            count = min(size, limit - tried, mails or BATCH)
            batch = actions.claim(
                now=clock(), lease=settings.LEASE, limit=count, pks=chosen, start_attempts=False
            )
            full = len(batch) == count
            batch = _within_rate(batch, now=clock())
            done = _work_through(batch, due, clock=clock, ends_at=ends_at)
            tried += max(done, 1)
            # Claim as many next as there was time for, or twice as many if there was time for all.
            size = min(2 * size, BATCH) if done == len(batch) else max(done, 1)
    return tried


def _without_mails(due: QuerySet[LearnerContentAssignmentAction], *, now: datetime) -> list[int]:
    """Return the due actions (pks) that are not mails, among the first `LOOK_AHEAD`."""
    first = leases.first_due(due, now=now, limit=LOOK_AHEAD)
    others = due.filter(pk__in=first).exclude(action_type__in=MAILS)
    return list(others.order_by("due_at").values_list("pk", flat=True))


def _within_rate(
    batch: Sequence[LearnerContentAssignmentAction], *, now: datetime
) -> list[LearnerContentAssignmentAction]:
    """Return the claimed actions, and release the mails among them that the rate does not allow now."""
    mails = [action for action in batch if action.action_type in MAILS]
    excess = mails[sending_rate.take_slots(len(mails), now=now) :]
    leases.release(excess)
    return [action for action in batch if action not in excess]


def _work_through(
    batch: Sequence[LearnerContentAssignmentAction],
    due: QuerySet[LearnerContentAssignmentAction],
    *,
    clock: Clock,
    ends_at: float,
) -> int:
    """Carry out claimed actions for `BATCH_SECONDS`, but at least one; return how many were tried.

    The others are released, for any worker to claim.
    """
    ends_at, tried, waiting = min(ends_at, time.monotonic() + BATCH_SECONDS), 0, deque(batch)
    try:
        emails.read_ahead([action for action in batch if action.action_type in MAILS])
        while waiting and (not tried or time.monotonic() < ends_at):
            action = waiting[0]
            if not actions.begin(action, now=clock(), lease=settings.LEASE):
                leases.release([waiting.popleft()])  # to be read again, if it is still to be done
                continue
            waiting.popleft()
            tried += 1
            try:
                outcome = attempt(action, clock=clock)
            except MailsPaused as paused:
                outcome = NotTried(until=paused.until)
                leases.release(waiting)
                waiting.clear()
                mail_server.postpone_mails(due.filter(action_type__in=MAILS), paused, now=clock())
            actions.finish(action, outcome, now=clock())
    finally:
        leases.release(waiting)
    return tried


def attempt(action: LearnerContentAssignmentAction, *, clock: Clock) -> AttemptResult:
    """Try a claimed action once and return the result; nothing is written here.

    Raises MailsPaused if the action is a mail, and all mails must wait for the mail server.
    """
    is_redemption = action.action_type == ActionType.REDEEMED
    reason = ErrorReason.ENROLLMENT_ERROR if is_redemption else ErrorReason.INTERNAL_API_ERROR
    try:
        if outcomes.attempts_towards_limit(action) > MAX_ATTEMPTS and not outcomes.is_paid(action):
            died = "The worker died each time that this was tried."
            return Failed(Failure(reason, "worker_died", died, ""))
        return handlers.HANDLERS[ActionType(action.action_type)](action, now=action.modified)
    except MailsPaused as paused:
        if clock() < max(action.created, paused.since) + LONGEST_OUTAGE:
            raise
        return _given_up(action, Failure(reason, paused.error_code, paused.detail, ""))
    except DeliveryError as error:
        failure = Failure(error.reason, error.error_code, error.detail, traceback.format_exc())
        return _retry_or_give_up(action, error, failure, now=clock())
    except Exception as error:  # noqa: BLE001  # the one place that survives whatever a handler raises
        # The stack trace is stored on the action, not logged: it may name people.
        logger.warning("Delivery failed: action=%s error=%s", action.uuid, type(error).__name__)
        detail = f"{type(error).__name__}: {error}"
        failure = Failure(reason, "unexpected_error", detail, traceback.format_exc())
    if outcomes.attempts_towards_limit(action) >= MAX_ATTEMPTS:
        return _given_up(action, failure)
    return Postponed(failure, until=clock() + wait_after(action.attempts))


def _retry_or_give_up(
    action: LearnerContentAssignmentAction, error: DeliveryError, failure: Failure, *, now: datetime
) -> AttemptResult:
    """Return the result of a known error: a postponed action, or a failed one.

    It fails if the error is permanent, has occurred `most_attempts` times, or first occurred longer ago than
    `retry_for`; or if any error first occurred longer ago than `LONGEST_OUTAGE`.
    """
    if error.permanent:
        return _given_up(action, failure)
    first = outcomes.first_occurrences(action)
    ends_at = min(
        first.get(error.error_code, now) + error.retry_for, min(first.values(), default=now) + LONGEST_OUTAGE
    )
    occurrences = 1 + outcomes.occurrences(action, error.error_code)
    if now >= ends_at or occurrences >= (error.most_attempts or occurrences + 1):
        return _given_up(action, failure)
    wait = max(error.wait, wait_after(action.attempts))
    return Postponed(failure, until=min(now + wait, ends_at), limited_by="time")


def _given_up(action: LearnerContentAssignmentAction, failure: Failure) -> Failed:
    logger.warning("Delivery finally failed: action=%s error=%s", action.uuid, failure.error_code)
    return Failed(failure)


def wait_after(attempts: int) -> timedelta:
    """Return the wait after so many attempts: full jitter, a random fraction of a ceiling that doubles."""
    return retries.back_off(attempts, first=FIRST_WAIT, longest=LONGEST_WAIT)
