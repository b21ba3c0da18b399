"""The results of attempts at actions, and the columns that store them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.budgets.models import LedgerEntry
from bursary.lib import texts

ATTEMPTS_LOGGED = 10
ERROR_CODE, FIRST_OCCURRENCES = "cause", "first_met"  # keys in the attempt log
TRACEBACK_LENGTH = 20_000  # characters
PAID_RETRY_WAIT = timedelta(minutes=30)
"""The wait of a redemption with its money spent, where other work would finally fail."""


Limit = Literal["attempts", "time"]


@dataclass(frozen=True)
class Done:
    """The work is done. `payload` is what was sent, `provider_ref` the provider's name for it."""

    provider_ref: str = ""
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: the value on the wire, the exact code, a sentence, the stack trace."""

    reason: ErrorReason
    error_code: str
    detail: str
    traceback: str


@dataclass(frozen=True)
class Postponed:
    """The attempt failed; the next one is due at `until`.

    `limited_by` says what ends the attempts: their number, or the time since the same failure first occurred;
    None if neither does, while the work only waits for something else.
    """

    failure: Failure
    until: datetime
    limited_by: Limit | None = "attempts"


@dataclass(frozen=True)
class NotTried:
    """Nothing was tried: the action is due again at `until`, and its attempt is not counted."""

    until: datetime


@dataclass(frozen=True)
class Failed:
    """The attempt failed and is the last one."""

    failure: Failure


@dataclass(frozen=True)
class Skipped:
    """The work is not needed."""

    error_code: str
    detail: str


SKIPPED_ON_REQUEST = Skipped("skipped_on_request", "")
"""The outcome of failed work that an administrator decided to skip, without the reason, its `detail`."""

AttemptResult = Done | Postponed | NotTried | Failed | Skipped


def columns_after(
    action: LearnerContentAssignmentAction, outcome: AttemptResult, *, now: datetime
) -> dict[str, Any]:
    """Return the values of an action's columns after an attempt."""
    match outcome:
        case Done():
            return {
                "status": Status.DONE,
                "completed_at": now,
                "provider_ref": outcome.provider_ref,
                "payload": dict(outcome.payload),
            }
        case Skipped():
            return {"completed_at": now, **final_columns(outcome)}
        case Postponed(failure):
            log = _logged(action, failure, now, limited_by=outcome.limited_by)
            return {"status": Status.PENDING, "attempt_log": log}
        case NotTried():
            return {"status": Status.PENDING, "attempts": action.attempts - 1}
        case Failed(failure):
            log = _logged(action, failure, now)
            return {"completed_at": now, "attempt_log": log, **final_columns(outcome)}


def final_columns(outcome: Skipped | Failed) -> dict[str, Any]:
    """Return the values of the columns of work that was skipped or has finally failed."""
    if isinstance(outcome, Skipped):
        return {"status": Status.SKIPPED, "error_code": outcome.error_code, "detail": outcome.detail}
    failure = outcome.failure
    return {
        "status": Status.FAILED,
        "error_reason": failure.reason,
        "error_code": failure.error_code,
        "detail": last_characters(failure.detail),
        "traceback": last_characters(failure.traceback),
    }


def is_paid(action: LearnerContentAssignmentAction) -> bool:
    """Return whether the action is a redemption with its money spent.

    It is never given up: the assignment would be open again, and its reserved money freed a second time.
    """
    is_redemption = action.action_type == ActionType.REDEEMED
    return is_redemption and LedgerEntry.objects.filter(idempotency_key=action.assignment.ledger_key).exists()


def attempts_towards_limit(action: LearnerContentAssignmentAction) -> int:
    """Return how many attempts, the present one included, count towards the limit of attempts.

    Attempts of workers that died count as well: they are the gaps between the log's numbers.
    """
    last = action.attempt_log[-1] if action.attempt_log else {"attempt": 0}
    logged = int(last["attempt"])
    return int(last.get("counted", logged)) + action.attempts - logged


def first_occurrences(action: LearnerContentAssignmentAction) -> dict[str, datetime]:
    """Return the time of the first occurrence of each temporary error, by its code."""
    last = action.attempt_log[-1] if action.attempt_log else {}
    return {code: datetime.fromisoformat(at) for code, at in last.get(FIRST_OCCURRENCES, {}).items()}


def occurrences(action: LearnerContentAssignmentAction, error_code: str) -> int:
    """Return how many of the logged attempts, the last `ATTEMPTS_LOGGED`, ended with this error code."""
    return sum(entry[ERROR_CODE] == error_code for entry in action.attempt_log)


def _logged(
    action: LearnerContentAssignmentAction,
    failure: Failure,
    now: datetime,
    *,
    limited_by: Limit | None = "attempts",
) -> list[dict[str, object]]:
    first = first_occurrences(action) if limited_by else {}  # a wait for something else is no outage
    if limited_by == "time":
        first.setdefault(failure.error_code, now)
    counted = attempts_towards_limit(action) - (limited_by != "attempts")
    entry: dict[str, object] = {
        "at": now.isoformat(),
        "attempt": action.attempts,
        ERROR_CODE: failure.error_code,
        "detail": last_characters(failure.detail),
        "traceback": last_characters(failure.traceback),
    }
    if counted != action.attempts:
        entry["counted"] = counted
    if first:
        entry[FIRST_OCCURRENCES] = {code: at.isoformat() for code, at in first.items()}
    return [*action.attempt_log, entry][-ATTEMPTS_LOGGED:]


def last_characters(text: str) -> str:
    """Return the last `TRACEBACK_LENGTH` characters of a text, as every database stores them."""
    return texts.storable(text[-TRACEBACK_LENGTH:], instead=texts.REPLACEMENT)
