"""The page of one assignment: all of it for its administrators, the essentials for its learner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.http import Http404

from bursary.access.models import User
from bursary.access.permissions import Permission, granted, may
from bursary.assignments import content_display, derived, learner_accounts, lifecycle, matching
from bursary.assignments.choices import ActionType, State
from bursary.assignments.learner_accounts import AccountEnded
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.dashboard.learner_answers import Invitation, invitation
from bursary.dashboard.overview import operates, own_assignments
from bursary.delivery.emails import DeadlineText, deadline_in_words


@dataclass(frozen=True)
class AssignmentPage:
    """An assignment as `reader` may see it. For its learner, `timeline` is None."""

    assignment: LearnerContentAssignment
    deadline: DeadlineText | None
    timeline: Sequence[LearnerContentAssignmentAction] | None
    with_traces: bool = False
    """This reader is an operator."""
    may_be_cancelled: bool = False
    """By this reader, now."""
    invitation: Invitation | None = None
    """Set if this reader is its learner."""
    declined: bool = False
    links_ended_by_correction: bool = False
    """The links that do not work any more were those to an address that was corrected."""
    account_ended: AccountEnded | None = None
    """For its administrators: why its learner is not mailed."""


def load(uuid: UUID, *, reader: User, now: datetime) -> AssignmentPage | None:
    """Return the assignment as `reader` may see it; None if it does not exist or they may not see it."""
    assignment = (
        LearnerContentAssignment.objects.select_related("budget__customer", "content")
        .annotate(is_held=derived.held())
        .defer("content__payload")
        .filter(uuid=uuid)
        .first()
    )
    if assignment is None:
        return None
    content_display.attach_content([assignment], now=now)
    deadline = deadline_in_words(assignment) if assignment.state == State.ALLOCATED else None
    own = own_assignments(reader).filter(pk=assignment.pk).exists()
    as_learner = invitation(assignment, now=now) if own else None
    customer_pk = assignment.budget.customer_id
    if not may(reader, Permission.READ_ASSIGNMENTS, customer_pk=customer_pk):
        return AssignmentPage(assignment, deadline, None, invitation=as_learner) if own else None
    timeline = list(assignment.actions.timeline().select_related("actor").defer("payload"))
    corrected_at = {one.created for one in timeline if one.action_type == ActionType.EMAIL_CORRECTED}
    return AssignmentPage(
        assignment,
        deadline,
        timeline,
        links_ended_by_correction=assignment.links_revoked_at in corrected_at,
        with_traces=operates(reader),
        may_be_cancelled=lifecycle.allows(assignment, ActionType.CANCELLED)
        and may(reader, Permission.CANCEL, customer_pk=customer_pk),
        invitation=as_learner,
        declined=bool(matching.which_declined([assignment])),
        account_ended=learner_accounts.account_ended(assignment),
    )


def cancellable(uuid: UUID, *, actor: User) -> LearnerContentAssignment:
    """Return the assignment if `actor` may cancel it, or revoke its links. Raises Http404."""
    permitted = granted(actor, Permission.CANCEL, customer="budget__customer")
    rows = LearnerContentAssignment.objects.select_related("budget")
    assignment = rows.filter(permitted, uuid=uuid).first()
    if assignment is None:
        raise Http404("There is no such assignment.")
    return assignment
