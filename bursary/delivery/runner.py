"""The runner: claim an action that is due, attempt it, finish it.

One action is claimed at a time, so that a lease covers one send and no more. Nothing is sent inside a
transaction. A worker that outlives its lease writes nothing: the row's `fence`, the number
of its claims, is no longer the worker's.
"""

import logging
import traceback
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings

from bursary.assignments import actions
from bursary.assignments.actions import AttemptResult, Failed, Failure, Postponed
from bursary.assignments.choices import ActionType, ErrorReason
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import handlers
from bursary.delivery.errors import DeliveryError
from bursary.lib import leases
from bursary.lib.clock import Clock

logger = logging.getLogger(__name__)


MOST_ATTEMPTS = 20
"""With the waits below, an outage of a provider is bridged for about six and a half hours, on average."""
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
            actions.finish(action, attempt(action, clock=clock), now=clock())
    return most


def attempt(action: LearnerContentAssignmentAction, *, clock: Clock) -> AttemptResult:
    """Try a claimed action once and return how it went; nothing is written here."""
    redeems = action.action_type == ActionType.REDEEMED
    reason = ErrorReason.ENROLLMENT_ERROR if redeems else ErrorReason.INTERNAL_API_ERROR
    most_attempts = MOST_ATTEMPTS
    try:
        if action.attempts > MOST_ATTEMPTS and not actions.is_paid(action):
            died = "The worker died each time that this was tried."
            return Failed(Failure(reason, "worker_died", died, ""))
        return handlers.HANDLERS[ActionType(action.action_type)](action)
    except DeliveryError as error:
        failure = Failure(error.reason, error.error_code, error.detail, traceback.format_exc())
        most_attempts = 1 if error.permanent else error.most_attempts or MOST_ATTEMPTS
    except Exception as error:  # noqa: BLE001  # the one place that survives whatever a handler raises
        # The stack trace is stored on the action, not logged: it may name people.
        logger.warning("Delivery failed: action=%s error=%s", action.uuid, type(error).__name__)
        detail = f"{type(error).__name__}: {error}"
        failure = Failure(reason, "unexpected_error", detail, traceback.format_exc())
    if action.attempts >= most_attempts:
        logger.warning("Delivery finally failed: action=%s error=%s", action.uuid, failure.error_code)
        return Failed(failure)
    return Postponed(failure, until=clock() + wait_after(action.attempts))


def wait_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts."""
    return leases.back_off(attempts, first=FIRST_WAIT, longest=LONGEST_WAIT)
