"""How an attempt at an action went, and the columns that keep it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bursary.assignments.choices import ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.lib import logs

ATTEMPTS_LOGGED = 10
TRACEBACK_LENGTH = 20_000  # characters


@dataclass(frozen=True)
class Done:
    """The work is done. `payload` is what was sent, `provider_ref` the provider's name for it."""

    provider_ref: str = ""
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: the clients' word, the exact code, a sentence, the stack trace."""

    reason: ErrorReason
    error_code: str
    detail: str
    traceback: str


@dataclass(frozen=True)
class Postponed:
    """The attempt failed; the next one is at `until`."""

    failure: Failure
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


AttemptResult = Done | Postponed | Failed | Skipped


def columns(
    action: LearnerContentAssignmentAction, outcome: AttemptResult, *, now: datetime
) -> dict[str, Any]:
    """Return the columns of the action that keep how its attempt went."""
    match outcome:
        case Done():
            return {
                "status": Status.DONE,
                "completed_at": now,
                "provider_ref": outcome.provider_ref,
                "payload": dict(outcome.payload),
            }
        case Skipped():
            return {
                "status": Status.SKIPPED,
                "completed_at": now,
                "error_code": outcome.error_code,
                "detail": outcome.detail,
            }
        case Postponed(failure):
            return {"status": Status.PENDING, "attempt_log": _logged(action, failure, now)}
        case Failed(failure):
            return {
                "status": Status.FAILED,
                "completed_at": now,
                "attempt_log": _logged(action, failure, now),
                "error_reason": failure.reason,
                "error_code": failure.error_code,
                "detail": storable(failure.detail),
                "traceback": storable(failure.traceback),
            }


def _logged(
    action: LearnerContentAssignmentAction, failure: Failure, now: datetime
) -> list[dict[str, object]]:
    entry = {
        "at": now.isoformat(),
        "attempt": action.attempts,
        "cause": failure.error_code,
        "detail": storable(failure.detail),
        "traceback": storable(failure.traceback),
    }
    return [*action.attempt_log, entry][-ATTEMPTS_LOGGED:]


def storable(text: str) -> str:
    """Return the text's end, as every database stores it."""
    return logs.storable(text[-TRACEBACK_LENGTH:])
