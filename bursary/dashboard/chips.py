"""The status of an assignment as administrators read it: a few words, and a sentence on what failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from bursary.assignments import error_texts, failures, statuses
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
    """`kind` is one of danger, warning, success, info and muted; `note` a sentence, or empty."""

    words: str
    kind: str
    note: str = ""


def chip(assignment: LearnerContentAssignment, *, now: datetime) -> Chip:
    """Return the status of an assignment that is loaded with its actions, as `listing` loads it."""
    status = statuses.status_of(assignment.state, assignment.learner_state)
    words, kind = str(statuses.STATUSES[status]), KINDS.get(status, "muted")
    note = assignment.decline_reason if status == statuses.DECLINED else _failure(assignment)
    if assignment.state != State.ALLOCATED:
        return Chip(words, kind, note)
    if assignment.redeeming_since:
        return Chip(_("Being accepted"), "info", note)
    if assignment.expires_at <= now and not (assignment.grace_until and assignment.grace_until > now):
        return Chip(_("Deadline passed"), "warning", note)
    return Chip(words, kind, note)


def _failure(assignment: LearnerContentAssignment) -> str:
    """Return why something about it failed, or is being retried; empty if nothing did."""
    if ended := getattr(assignment, "account_ended", ""):
        return str(error_texts.for_code(f"account_{ended}").sentence)
    failed = assignment.last_failure()
    if failed:
        why = error_texts.for_code(failed.error_code)
        if failed.action_type in _INVITING:
            return str(why.sentence)
        work = error_texts.WORK_IN_WORDS.get(failed.action_type, failed.action_type)
        return _("%(work)s failed: %(why)s") % {"work": work, "why": why.clause}
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
