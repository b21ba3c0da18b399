"""The runner: claim what is due, attempt it, finish it. New work, retries, lost messages and dead workers
are all found by the same look at `due_at`.

One action is claimed at a time, so that a lease covers one send and no more. Nothing is sent inside a
transaction. A worker that outlives its lease writes nothing: its fence no longer matches.
"""

import logging
import random
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings

from bursary.assignments import actions
from bursary.assignments.actions import AttemptResult, Done, Failed, Failure, Postponed, Skipped
from bursary.assignments.choices import ActionType, ErrorReason
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import emails, lms, redeeming
from bursary.delivery.errors import DeliveryError

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
Delivery = Callable[[LearnerContentAssignmentAction], Done | Skipped | Postponed]

DELIVERIES: Mapping[ActionType, Delivery] = {
    ActionType.LEARNER_LINKED: lms.link_learner,
    ActionType.NOTIFIED: emails.notify,
    ActionType.REMINDED: emails.remind,
    ActionType.NUDGED: emails.nudge,
    ActionType.REDEEMED: redeeming.redeem,
    ActionType.CANCELLATION_NOTIFIED: emails.notify_of_cancellation,
    ActionType.EXPIRATION_NOTIFIED: emails.notify_of_expiration,
}

MOST_ATTEMPTS = 20
"""With the waits below: a provider may be away for about six and a half hours, on average."""
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)


def drain(*, clock: Clock, most: int, pks: Sequence[int] | None = None) -> int:
    """Do due work (of `pks`, if given) until none is left or `most` actions were tried; return how many."""
    for tried in range(most):
        # A look before the claim: an idle runner never waits for, nor takes, a write lock.
        if not actions.any_due(now=clock(), pks=pks):
            return tried
        for action in actions.claim(now=clock(), lease=settings.LEASE, limit=1, pks=pks):
            actions.finish(action, attempt(action, clock=clock), now=clock())
    return most


def attempt(action: LearnerContentAssignmentAction, *, clock: Clock) -> AttemptResult:
    """Try a claimed action once and return how it went; nothing is written here."""
    if action.attempts > MOST_ATTEMPTS and not actions.is_paid(action):
        return Failed(_abandoned(action))
    try:
        return DELIVERIES[ActionType(action.action_type)](action)
    except DeliveryError as error:
        failure = Failure(error.reason, error.error_code, error.detail, traceback.format_exc())
        permanent = error.permanent or action.attempts >= (error.most_attempts or MOST_ATTEMPTS)
    except Exception as error:  # noqa: BLE001  # the one place that survives whatever a delivery raises
        # The stack trace goes on the timeline, not into the log: it may name people.
        logger.warning("Delivery of action %s broke: %s", action.pk, type(error).__name__)
        detail = f"{type(error).__name__}: {error}"
        failure = Failure(_reason(action), "unexpected_error", detail, traceback.format_exc())
        permanent = False
    if permanent or action.attempts >= MOST_ATTEMPTS:
        logger.warning("Delivery of action %s failed: %s", action.pk, failure.error_code)
        return Failed(failure)
    return Postponed(failure, until=clock() + wait_after(action.attempts))


def wait_after(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: exponential, capped, with full jitter."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * (1 << min(attempts - 1, 16)))
    return longest * random.random()  # noqa: S311  # spreads load; hides nothing


def _abandoned(action: LearnerContentAssignmentAction) -> Failure:
    return Failure(_reason(action), "worker_died", "The worker died each time that this was tried.", "")


def _reason(action: LearnerContentAssignmentAction) -> ErrorReason:
    redeeming_it = action.action_type == ActionType.REDEEMED
    return ErrorReason.ENROLLMENT_ERROR if redeeming_it else ErrorReason.INTERNAL_API_ERROR
