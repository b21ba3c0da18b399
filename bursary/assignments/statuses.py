"""The status of an assignment for people: in words, as a condition on columns, and how it closed."""

from collections.abc import Mapping
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Case, F, Q, When
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState, State
from bursary.assignments.models import LearnerContentAssignment

WAITING, NOTIFYING, FAILED, DECLINED = "waiting", "notifying", "failed", "declined"

STATUSES: Mapping[str, Any] = {
    FAILED: gettext_lazy("Not notified"),
    WAITING: gettext_lazy("Waiting"),
    NOTIFYING: gettext_lazy("Being notified"),
    State.ACCEPTED: gettext_lazy("Accepted"),
    DECLINED: gettext_lazy("Declined"),
    State.EXPIRED: gettext_lazy("Expired"),
    State.CANCELLED: gettext_lazy("Cancelled"),
    State.REVERSED: gettext_lazy("Refunded"),
}
"""The statuses that lists are filtered by, in their order, in words."""

CONDITIONS: Mapping[str, Q] = {
    FAILED: Q(state=State.ALLOCATED, learner_state=LearnerState.FAILED),
    WAITING: Q(state=State.ALLOCATED, learner_state=LearnerState.WAITING),
    NOTIFYING: Q(state=State.ALLOCATED, learner_state=LearnerState.NOTIFYING),
    State.ACCEPTED: Q(state=State.ACCEPTED),
    DECLINED: Q(state=State.CANCELLED, learner_state=LearnerState.DECLINED),
    State.EXPIRED: Q(state=State.EXPIRED),
    State.CANCELLED: Q(state=State.CANCELLED, learner_state=LearnerState.NONE),
    State.REVERSED: Q(state=State.REVERSED),
}
"""The condition of each status: a range of the index of counts."""

DECIDED_BY: Mapping[str, Any] = {
    ExpiryReason.ALLOCATION_AGE: gettext_lazy("then it expires"),
    ExpiryReason.ENROLL_BY: gettext_lazy("enrolment closes"),
    ExpiryReason.BUDGET_END: gettext_lazy("the budget ends"),
    ExpiryReason.DUE_DATE: gettext_lazy("your due date"),
    ExpiryReason.EXTENSION: gettext_lazy("it was extended"),
}
"""Which date decides the deadline of an open assignment."""

EXPIRED_BY: Mapping[str, Any] = {
    ExpiryReason.ALLOCATION_AGE: gettext_lazy("Not accepted in time"),
    ExpiryReason.ENROLL_BY: gettext_lazy("Enrolment closed"),
    ExpiryReason.BUDGET_END: gettext_lazy("The budget ended"),
    ExpiryReason.DUE_DATE: gettext_lazy("The due date passed"),
    ExpiryReason.EXTENSION: gettext_lazy("The extended deadline passed"),
}
"""Which date decided that an assignment expired."""

_OPEN = {LearnerState.FAILED: FAILED, LearnerState.NOTIFYING: NOTIFYING}


def status_of(state: str, learner_state: int) -> str:
    """Return the key in `STATUSES` of an assignment."""
    if state == State.ALLOCATED:
        return _OPEN.get(LearnerState(learner_state), WAITING)
    return DECLINED if learner_state == LearnerState.DECLINED else state


_CLOSED_AT: Mapping[str, str] = {
    State.ACCEPTED: "accepted_at",
    State.CANCELLED: "cancelled_at",
    State.EXPIRED: "expired_at",
    State.REVERSED: "reversed_at",
}


def closed_at(assignment: LearnerContentAssignment) -> datetime | None:
    """Return when it was accepted, or ended; None while it is open."""
    column = _CLOSED_AT.get(assignment.state)
    return getattr(assignment, column) if column else None


CLOSED = frozenset({*_CLOSED_AT, DECLINED})
"""The statuses of what is accepted, or has ended."""


def closed_at_column(status: str) -> Case | F:
    """Return `closed_at` as SQL, of assignments with a status; where that is empty, with any."""
    if status in CLOSED:
        return F(_CLOSED_AT[State.CANCELLED if status == DECLINED else status])
    return Case(*(When(state=state, then=F(column)) for state, column in _CLOSED_AT.items()), default=None)


def closed_at_compares(lookup: str, instant: datetime) -> Q:
    """Return the condition that `closed_at` compares with an instant by a lookup, such as `gte`."""
    each = [Q(state=state) & Q((f"{column}__{lookup}", instant)) for state, column in _CLOSED_AT.items()]
    return reduce(or_, each)


def why_ended(assignment: LearnerContentAssignment) -> str:
    """Return why it ended, as a text for people; empty while it is open, and once it is accepted.

    The assignment is loaded with its actions, as `listing` loads it.
    """
    if assignment.learner_state == LearnerState.DECLINED:
        return assignment.decline_reason or _("The learner gave no reason")
    if assignment.state == State.EXPIRED:
        return str(EXPIRED_BY[assignment.expires_reason])
    if assignment.state == State.CANCELLED:
        facts = (one for one in assignment.actions.all() if one.action_type == ActionType.CANCELLED)
        details = (one.detail for one in facts if one.cycle == assignment.cycle)
        return next(details, "") or _("Cancelled by the organisation")
    return _("The money was returned") if assignment.state == State.REVERSED else ""
