"""The status of an assignment for administrators: a few words, and a sentence on failed work."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from bursary.assignments import error_texts, statuses
from bursary.assignments.choices import LINK_AND_NOTIFY, LearnerState, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.outcomes import SKIPPED_ON_REQUEST

KINDS: Mapping[str, str] = {
    statuses.FAILED: "danger",
    statuses.WAITING: "info",
    statuses.DECLINED: "warning",
    State.ACCEPTED: "success",
    State.EXPIRED: "warning",
}
"""The kind of chip by status; `muted` for all others."""


@dataclass(frozen=True)
class Chip:
    """A status label. `kind` is danger, warning, success, info or muted; `note` is a sentence, or empty."""

    words: str
    kind: str
    note: str = ""


def chip(assignment: LearnerContentAssignment, *, now: datetime) -> Chip:
    """Return the status of an assignment that `listing` has loaded with its actions."""
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
    """Return why its work failed, or is being retried; empty if none did."""
    if ended := getattr(assignment, "account_ended", ""):
        return str(error_texts.for_code(f"account_{ended}").sentence)
    failed = assignment.current_failure()
    if failed:
        why = error_texts.for_code(failed.error_code)
        if failed.action_type in LINK_AND_NOTIFY:
            return str(why.sentence)
        work = error_texts.WORK_IN_WORDS.get(failed.action_type, failed.action_type)
        return _("%(work)s failed: %(why)s") % {"work": work, "why": why.clause}
    if skipped := _why_skipped(assignment):
        return _("Skipped: %(reason)s") % {"reason": skipped}
    retried = any(one.status == Status.PENDING and one.attempts for one in assignment.actions.all())
    return _("A mail could not be sent yet; it is tried again.") if retried else ""


def _why_skipped(assignment: LearnerContentAssignment) -> str:
    """Return the reason for skipping its failed invitation; empty if it was not skipped."""
    if assignment.learner_state != LearnerState.FAILED:
        return ""
    skipped = (one for one in assignment.actions.all() if one.error_code == SKIPPED_ON_REQUEST.error_code)
    in_cycle = (one for one in skipped if one.cycle == assignment.cycle)
    return next((one.detail for one in in_cycle if one.action_type in LINK_AND_NOTIFY), "")
