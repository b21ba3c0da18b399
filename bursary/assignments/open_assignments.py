"""Which open assignments await an answer, and until when: each rule for a row, and beside it in SQL.

An assignment is open until the task `expire` expires it. From its deadline on it is overdue, unless it is
being redeemed: a redemption in flight is finished.
"""

from datetime import datetime

from django.db.models import Q

from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib.prepared import Parameter


def awaits_answer(assignment: LearnerContentAssignment) -> bool:
    """Return whether it is open, and not being redeemed; its deadline may have passed."""
    return assignment.state == State.ALLOCATED and assignment.redeeming_since is None


AWAITS_ANSWER = Q(state=State.ALLOCATED, redeeming_since=None)
"""`awaits_answer` as SQL."""


def can_be_answered(assignment: LearnerContentAssignment, *, now: datetime) -> bool:
    """Return whether it awaits an answer, and its deadline is ahead."""
    return awaits_answer(assignment) and assignment.expires_at > now


def can_be_answered_sql(*, now: datetime | Parameter) -> Q:
    """Return `can_be_answered` as SQL."""
    return AWAITS_ANSWER & Q(expires_at__gt=now)


def is_overdue(assignment: LearnerContentAssignment, *, now: datetime) -> bool:
    """Return whether it awaits an answer, and its deadline has passed."""
    return awaits_answer(assignment) and assignment.expires_at <= now


def is_overdue_sql(*, now: datetime | Parameter) -> Q:
    """Return `is_overdue` as SQL."""
    return AWAITS_ANSWER & Q(expires_at__lte=now)


def still_open(assignment: LearnerContentAssignment, *, now: datetime) -> bool:
    """Return whether it is open and not overdue: its deadline is ahead, or it is being redeemed."""
    return assignment.state == State.ALLOCATED and not is_overdue(assignment, now=now)


def still_open_sql(*, now: datetime | Parameter) -> Q:
    """Return `still_open` as SQL."""
    return Q(state=State.ALLOCATED) & (Q(expires_at__gt=now) | Q(redeeming_since__isnull=False))
