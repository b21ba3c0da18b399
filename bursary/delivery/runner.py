"""The runner: claim an action that is due, attempt it, finish it.

One action is claimed at a time, so that a lease covers one send and no more. Nothing is sent inside a
transaction. A worker that outlives its lease writes nothing: the row's `fence`, the number
of its claims, is no longer the worker's.
"""

import logging
import traceback
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings

from bursary.assignments import actions, outcomes
from bursary.assignments.actions import AttemptResult, Failed, Failure, NotTried, Postponed
from bursary.assignments.choices import ActionType, ErrorReason
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import handlers, mail_server
from bursary.delivery.errors import LONGEST_OUTAGE, DeliveryError, ServerHeld
from bursary.lib import leases
from bursary.lib.clock import Clock

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 20
"""Of unknown errors and dead workers. Known temporary answers are limited by time."""
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)


def drain(*, clock: Clock, most: int, pks: Sequence[int] | None = None) -> int:
    """Carry out due actions (of `pks`, if given), at most `most`; return how many were claimed."""
    rows = LearnerContentAssignmentAction.objects.all()
    due = rows if pks is None else rows.filter(pk__in=pks)
    for tried in range(most):
        # Asked before the claim: an idle runner neither waits for a write lock nor takes one.
        if not leases.any_due(due, now=clock()):
            return tried
        for action in actions.claim(now=clock(), lease=settings.LEASE, limit=1, pks=pks):
            try:
                outcome = attempt(action, clock=clock)
            except ServerHeld as held:
                outcome = NotTried(until=held.until)
                mail_server.let_wait(due.filter(action_type__in=handlers.MAILS), held, now=clock())
            actions.finish(action, outcome, now=clock())
    return most


def attempt(action: LearnerContentAssignmentAction, *, clock: Clock) -> AttemptResult:
    """Try a claimed action once and return how it went; nothing is written here.

    Raises ServerHeld where its mail must wait with others.
    """
    redeems = action.action_type == ActionType.REDEEMED
    reason = ErrorReason.ENROLLMENT_ERROR if redeems else ErrorReason.INTERNAL_API_ERROR
    try:
        if outcomes.counted_attempts(action) > MOST_ATTEMPTS and not actions.is_paid(action):
            died = "The worker died each time that this was tried."
            return Failed(Failure(reason, "worker_died", died, ""))
        return handlers.HANDLERS[ActionType(action.action_type)](action)
    except ServerHeld as held:
        if clock() < max(action.created, held.since) + LONGEST_OUTAGE:
            raise
        return _given_up(action, Failure(reason, held.error_code, held.detail, ""))
    except DeliveryError as error:
        failure = Failure(error.reason, error.error_code, error.detail, traceback.format_exc())
        return _after(action, error, failure, now=clock())
    except Exception as error:  # noqa: BLE001  # the one place that survives whatever a handler raises
        # The stack trace is stored on the action, not logged: it may name people.
        logger.warning("Delivery failed: action=%s error=%s", action.uuid, type(error).__name__)
        detail = f"{type(error).__name__}: {error}"
        failure = Failure(reason, "unexpected_error", detail, traceback.format_exc())
    if outcomes.counted_attempts(action) >= MOST_ATTEMPTS:
        return _given_up(action, failure)
    return Postponed(failure, until=clock() + wait_after(action.attempts))


def _after(
    action: LearnerContentAssignmentAction, error: DeliveryError, failure: Failure, *, now: datetime
) -> AttemptResult:
    """Return what follows from a known error: at most `most_attempts` of its kind, nor after its time."""
    if error.permanent:
        return _given_up(action, failure)
    met = outcomes.first_met(action)
    ends_at = min(
        met.get(error.error_code, now) + error.retry_for, min(met.values(), default=now) + LONGEST_OUTAGE
    )
    of_its_kind = 1 + sum(entry["cause"] == error.error_code for entry in action.attempt_log)
    if now >= ends_at or of_its_kind >= (error.most_attempts or of_its_kind + 1):
        return _given_up(action, failure)
    wait = max(error.wait, wait_after(action.attempts))
    return Postponed(failure, until=min(now + wait, ends_at), counted=False)


def _given_up(action: LearnerContentAssignmentAction, failure: Failure) -> Failed:
    logger.warning("Delivery finally failed: action=%s error=%s", action.uuid, failure.error_code)
    return Failed(failure)


def wait_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts."""
    return leases.back_off(attempts, first=FIRST_WAIT, longest=LONGEST_WAIT)
