"""The status of an assignment as administrators read it: a few words, and the cause behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard import causes

WAITING, NOTIFYING, FAILED = "waiting", "notifying", "failed"

STATUSES: Mapping[str, tuple[Any, str]] = {
    FAILED: (gettext_lazy("Not notified"), "danger"),
    WAITING: (gettext_lazy("Waiting"), "info"),
    NOTIFYING: (gettext_lazy("Being notified"), "muted"),
    State.ACCEPTED: (gettext_lazy("Accepted"), "success"),
    State.EXPIRED: (gettext_lazy("Expired"), "warning"),
    State.CANCELLED: (gettext_lazy("Cancelled"), "muted"),
    State.REVERSED: (gettext_lazy("Refunded"), "muted"),
}
"""The statuses that lists are filtered by, in their order: the words, and the kind of chip."""

OF_LEARNER_STATES: Mapping[str, LearnerState] = {
    FAILED: LearnerState.FAILED,
    WAITING: LearnerState.WAITING,
    NOTIFYING: LearnerState.NOTIFYING,
}
"""Those of open assignments."""


@dataclass(frozen=True)
class Chip:
    """`kind` is one of danger, warning, success, info and muted; `cause` a sentence, or empty."""

    words: str
    kind: str
    cause: str = ""


def status_of(state: str, learner_state: int) -> str:
    """Return the key in `STATUSES` of an assignment."""
    if state != State.ALLOCATED:
        return state
    names = {number: name for name, number in OF_LEARNER_STATES.items()}
    return names.get(LearnerState(learner_state), WAITING)


def chip(assignment: LearnerContentAssignment, *, now: datetime) -> Chip:
    """Return the status of an assignment that is loaded with its actions, as `listing` loads it."""
    words, kind = STATUSES[status_of(assignment.state, assignment.learner_state)]
    cause = _cause(assignment)
    if assignment.state == State.CANCELLED and was_declined(assignment):
        return Chip(_("Declined"), "muted", assignment.decline_reason)
    if assignment.state != State.ALLOCATED:
        return Chip(words, kind, cause)
    if assignment.redeeming_since:
        return Chip(_("Being accepted"), "info", cause)
    if assignment.expires_at <= now and not (assignment.grace_until and assignment.grace_until > now):
        return Chip(_("Deadline passed"), "warning", cause)
    return Chip(words, kind, cause)


def was_declined(assignment: LearnerContentAssignment) -> bool:
    """Return whether the present cycle of an assignment that is loaded with its actions was declined."""
    return any(
        one.action_type == ActionType.DECLINED and one.cycle == assignment.cycle
        for one in assignment.actions.all()
    )


def _cause(assignment: LearnerContentAssignment) -> str:
    """Return why something about it failed, or is being retried; empty if nothing did."""
    if ended := getattr(assignment, "account_ended", ""):
        return str(causes.in_words(f"account_{ended}").sentence)
    failed = assignment.last_failure()
    if failed:
        why = causes.in_words(failed.error_code)
        if failed.action_type in (ActionType.NOTIFIED, ActionType.LEARNER_LINKED):
            return str(why.sentence)
        work = causes.WORK_IN_WORDS.get(failed.action_type, failed.action_type)
        return _("%(work)s failed: %(cause)s") % {"work": work, "cause": why.clause}
    retried = any(one.status == Status.PENDING and one.attempts for one in assignment.actions.all())
    return _("A mail could not be sent yet; it is tried again.") if retried else ""
