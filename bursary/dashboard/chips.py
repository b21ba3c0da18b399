"""The status of an assignment as administrators read it: a few words, and the cause behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from bursary.assignments import causes, failures, statuses
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment

KINDS: Mapping[str, str] = {
    statuses.FAILED: "danger",
    statuses.WAITING: "info",
    statuses.DECLINED: "warning",
    State.ACCEPTED: "success",
    State.EXPIRED: "warning",
}
"""The kind of chip of a status; of any other, muted."""
_INVITING = (ActionType.LEARNER_LINKED, ActionType.NOTIFIED)


@dataclass(frozen=True)
class Chip:
    """`kind` is one of danger, warning, success, info and muted; `cause` a sentence, or empty."""

    words: str
    kind: str
    cause: str = ""


def chip(assignment: LearnerContentAssignment, *, now: datetime) -> Chip:
    """Return the status of an assignment that is loaded with its actions, as `listing` loads it."""
    status = statuses.status_of(assignment.state, assignment.learner_state)
    words, kind = str(statuses.STATUSES[status]), KINDS.get(status, "muted")
    cause = assignment.decline_reason if status == statuses.DECLINED else _cause(assignment)
    if assignment.state != State.ALLOCATED:
        return Chip(words, kind, cause)
    if assignment.redeeming_since:
        return Chip(_("Being accepted"), "info", cause)
    if assignment.expires_at <= now and not (assignment.grace_until and assignment.grace_until > now):
        return Chip(_("Deadline passed"), "warning", cause)
    return Chip(words, kind, cause)


def _cause(assignment: LearnerContentAssignment) -> str:
    """Return why something about it failed, or is being retried; empty if nothing did."""
    if ended := getattr(assignment, "account_ended", ""):
        return str(causes.in_words(f"account_{ended}").sentence)
    failed = assignment.last_failure()
    if failed:
        why = causes.in_words(failed.error_code)
        if failed.action_type in _INVITING:
            return str(why.sentence)
        work = causes.WORK_IN_WORDS.get(failed.action_type, failed.action_type)
        return _("%(work)s failed: %(cause)s") % {"work": work, "cause": why.clause}
    if skipped := _why_skipped(assignment):
        return _("Skipped: %(reason)s") % {"reason": skipped}
    retried = any(one.status == Status.PENDING and one.attempts for one in assignment.actions.all())
    return _("A mail could not be sent yet; it is tried again.") if retried else ""


def _why_skipped(assignment: LearnerContentAssignment) -> str:
    """Return the reason for which its failed invitation was skipped; empty if it was not."""
    if assignment.learner_state != LearnerState.FAILED:
        return ""
    skipped = (one for one in assignment.actions.all() if one.error_code == failures.SKIPPED_ON_REQUEST)
    of_invitation = (one for one in skipped if one.action_type in _INVITING and one.cycle == assignment.cycle)
    return next((one.detail for one in of_invitation), "")
