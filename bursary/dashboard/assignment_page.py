"""One assignment for people: everything for who answers for it, the essentials for its learner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bursary.access.models import User
from bursary.access.permissions import Permission, granted, may
from bursary.assignments import cancellation, content_display, lifecycle, redemption, signed_links
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.dashboard.learner_answers import Invitation, invitation
from bursary.dashboard.overview import operates, own_assignments
from bursary.delivery.emails import DeadlineText, deadline_in_words


@dataclass(frozen=True)
class TimelineLine:
    """One action as it is shown. What failed says why; so does what will be tried again."""

    action: LearnerContentAssignmentAction
    error_code: str
    detail: str
    trace: str
    """The stack trace; empty for who may not see it."""

    @property
    def will_be_retried(self) -> bool:
        return self.action.status == Status.PENDING and self.action.attempts > 0


@dataclass(frozen=True)
class AssignmentPage:
    """An assignment as `reader` may see it. For its learner, `timeline` is None."""

    assignment: LearnerContentAssignment
    deadline: DeadlineText | None
    timeline: Sequence[TimelineLine] | None
    may_be_cancelled: bool = False
    """By this reader, now."""
    invitation: Invitation | None = None
    """For this reader as its learner; None for others."""
    declined: bool = False
    """Its learner ended it."""


def load(uuid: UUID, *, reader: User, now: datetime) -> AssignmentPage | None:
    """Return the assignment as `reader` may see it; None where there is none, or none for them."""
    assignment = (
        LearnerContentAssignment.objects.select_related("budget__customer", "content")
        .defer("content__payload")
        .filter(uuid=uuid)
        .first()
    )
    if assignment is None:
        return None
    content_display.attach_content([assignment], now=now)
    deadline = deadline_in_words(assignment) if assignment.state == State.ALLOCATED else None
    own = own_assignments(reader).filter(pk=assignment.pk).exists()
    asked = invitation(assignment, now=now) if own else None
    if may(reader, Permission.READ_ASSIGNMENTS, customer_pk=assignment.budget.customer_id):
        return AssignmentPage(
            assignment,
            deadline,
            _timeline(assignment, with_traces=operates(reader)),
            may_be_cancelled=_may_be_cancelled(assignment, reader),
            invitation=asked,
            declined=bool(redemption.which_declined([assignment])),
        )
    return AssignmentPage(assignment, deadline, None, invitation=asked) if asked else None


def cancel(uuid: UUID, *, actor: User, now: datetime) -> cancellation.Cancellation | None:
    """Cancel the assignment, if it is open; return None where there is none, or none that `actor` may."""
    may_be = granted(actor, Permission.CANCEL, customer="budget__customer")
    assignment = LearnerContentAssignment.objects.select_related("budget").filter(may_be, uuid=uuid).first()
    if assignment is None:
        return None
    return cancellation.cancel(assignment.budget, uuids=[uuid], now=now, actor=actor)


def revoke_links(uuid: UUID, *, actor: User, now: datetime) -> bool:
    """Withdraw the links in mails; return False where there is no such assignment that `actor` may cancel."""
    may_be = granted(actor, Permission.CANCEL, customer="budget__customer")
    assignment = LearnerContentAssignment.objects.filter(may_be, uuid=uuid).first()
    if assignment is None:
        return False
    signed_links.revoke(assignment, now=now)
    return True


def _may_be_cancelled(assignment: LearnerContentAssignment, reader: User) -> bool:
    possible = lifecycle.allows(assignment, ActionType.CANCELLED)
    return possible and may(reader, Permission.CANCEL, customer_pk=assignment.budget.customer_id)


def _timeline(assignment: LearnerContentAssignment, *, with_traces: bool) -> list[TimelineLine]:
    actions = assignment.actions.timeline().select_related("actor").defer("payload")
    return [_line(action, with_trace=with_traces) for action in actions]


def _line(action: LearnerContentAssignmentAction, *, with_trace: bool) -> TimelineLine:
    last = action.attempt_log[-1] if action.due_at and action.attempt_log else {}
    trace = action.traceback or last.get("traceback", "")
    return TimelineLine(
        action,
        error_code=action.error_code or last.get("cause", ""),
        detail=action.detail or last.get("detail", ""),
        trace=trace if with_trace else "",
    )
