"""The status of an assignment as administrators read it: a few words, and the cause behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from bursary.assignments import causes, statuses
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment

KINDS: Mapping[str, str] = {
    statuses.FAILED: "danger",
    statuses.WAITING: "info",
    statuses.DECLINED: "warning",
    State.ACCEPTED: "success",
    State.EXPIRED: "warning",
}
"""The kind of chip of a status; of any other, muted."""


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
        if failed.action_type in (ActionType.NOTIFIED, ActionType.LEARNER_LINKED):
            return str(why.sentence)
        work = causes.WORK_IN_WORDS.get(failed.action_type, failed.action_type)
        return _("%(work)s failed: %(cause)s") % {"work": work, "cause": why.clause}
    retried = any(one.status == Status.PENDING and one.attempts for one in assignment.actions.all())
    return _("A mail could not be sent yet; it is tried again.") if retried else ""
