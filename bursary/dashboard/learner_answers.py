"""A learner's assignment, and accepting or declining it by an e-mail's link or signed in."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy

from bursary.access import contacts
from bursary.access.models import User
from bursary.assignments import (
    content_display,
    declining,
    matching,
    redemption,
    signed_links,
    statuses,
)
from bursary.assignments.choices import State
from bursary.assignments.content_display import About
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.dashboard import chips
from bursary.dashboard.chips import Chip
from bursary.delivery import runner
from bursary.delivery.emails import DeadlineText, deadline_text
from bursary.lib.retries import in_transaction, repeated_after_deadlocks
from bursary.replica import reads


class InvitationState(enum.StrEnum):
    """The actions that the learner can take on an assignment now."""

    OPEN = "open"
    """Accept or decline it."""
    BLOCKED = "blocked"
    """Decline it; it cannot be accepted at present."""
    BUSY = "busy"
    """Wait: it is being redeemed."""
    ACCEPTED = "accepted"
    """Go to the course."""
    ENDED = "ended"
    """No action any more."""


@dataclass(frozen=True)
class Invitation:
    """An assignment as its learner sees it, without its price."""

    assignment: LearnerContentAssignment
    state: InvitationState
    chip: Chip
    """The state at present."""
    deadline: DeadlineText | None
    course_url: str
    """The course's enrolment URL; empty if it is unknown or the assignment has ended."""
    about: About
    starts_at: datetime | None
    """The start of the course, if it is in the future."""
    over: bool
    """Whether the course has ended."""
    message: str
    """The organisation's message, of several lines; empty if there is none."""
    contact: str
    """The e-mail address for questions; empty if the organisation has none."""
    refusal: redemption.RedemptionRefused | None
    """Why it cannot be accepted any more."""
    blocked_by: redemption.RedemptionRefused | None = None
    """Why it cannot be accepted at present."""
    longest_reason: int = declining.LONGEST_REASON

    def says(self, text: str) -> bool:
        """Return whether the page shows this text as the reason or the next step."""
        return any(why and text in (why.sentence, why.next_step) for why in (self.refusal, self.blocked_by))


_STATES: Mapping[str, Any] = {
    State.ACCEPTED: gettext_lazy("accepted"),
    State.CANCELLED: gettext_lazy("cancelled"),
    State.EXPIRED: gettext_lazy("expired"),
    State.REVERSED: gettext_lazy("refunded"),
}
_DECLINED = gettext_lazy("declined")
_BEING_ACCEPTED = gettext_lazy("being accepted")
_WAITING = gettext_lazy("waiting for your answer")


def invitation(assignment: LearnerContentAssignment, *, message: str, now: datetime) -> Invitation:
    """Return the assignment as its learner sees it at `now`, with the `message`. At most seven queries."""
    content_display.load_shown_content([assignment], now=now)
    declined = bool(matching.which_declined([assignment]))
    refusal = redemption.refusal(assignment, now=now, declined=declined)
    blocked_by = redemption.budget_refusal(assignment, now=now)
    if not (refusal or blocked_by):
        asked = (assignment, assignment.content_key)
        blocked_by = redemption.joining_refusals([asked], now=now).get((assignment.pk, asked[1]))
    if refusal:
        state = InvitationState.ENDED
    elif assignment.state == State.ACCEPTED:
        state = InvitationState.ACCEPTED
    elif blocked_by:
        state = InvitationState.BLOCKED
    else:
        state = InvitationState.BUSY if assignment.redeeming_since else InvitationState.OPEN
    about = content_display.about(assignment, now=now)
    return Invitation(
        assignment=assignment,
        state=state,
        chip=state_chip(assignment, now=now, declined=declined),
        deadline=deadline_text(assignment, to_learner=True)
        if assignment.state in (State.ALLOCATED, State.EXPIRED)
        else None,
        course_url="" if refusal else course_url(assignment),
        about=about,
        starts_at=about.starts_at if about.starts_at and about.starts_at > now else None,
        over=bool(about.ends_at and about.ends_at <= now),
        message=message,
        contact=contacts.contact(assignment.budget.customer),
        refusal=refusal,
        blocked_by=blocked_by,
    )


def state_chip(assignment: LearnerContentAssignment, *, now: datetime, declined: bool) -> Chip:
    """Return the state in the learner's words; for `declined`, see `matching.which_declined`."""
    status: str = assignment.state
    if declined:
        status, words = statuses.DECLINED, _DECLINED
    elif status == State.ALLOCATED and assignment.redeeming_since:
        status, words = statuses.WAITING, _BEING_ACCEPTED
    elif status == State.ALLOCATED and not redemption.refusal(assignment, now=now):
        status, words = statuses.WAITING, _WAITING
    else:
        status = State.EXPIRED if status == State.ALLOCATED else status
        words = _STATES[status]
    return Chip(capfirst(str(words)), chips.KINDS.get(status, "muted"))


def course_url(assignment: LearnerContentAssignment) -> str:
    """Return the enrolment URL for the budget's catalog, that of the redeemed run if there is one.

    Empty if upstream has none. At most two queries.
    """
    key = assignment.content_key
    if assignment.state == State.ACCEPTED:
        redeemed = redemption.redemptions([assignment]).get(assignment.pk)
        key = redeemed.redeemed_content_key if redeemed else key
    return reads.courseware_url(key, catalog_uuid=assignment.budget.catalog_uuid)


def accept(
    assignment: LearnerContentAssignment, *, learner: User, now: datetime
) -> LearnerContentAssignmentAction:
    """Redeem the learner's own assignment; return the action.

    It is attempted once here; the runner retries it if it fails. Raises redemption.RedemptionRefused.
    """
    return _tried_once(redemption.begin(assignment, now=now, actor=learner))


def accept_by_link(token: str, *, now: datetime) -> LearnerContentAssignmentAction:
    """Redeem the assignment of a signed link, like `accept`.

    Raises links.LinkRefused, redemption.RedemptionRefused.
    """
    assignment = in_transaction(lambda: signed_links.opened_and_locked(token, now=now))
    return _tried_once(redemption.begin(assignment, now=now))


@repeated_after_deadlocks
def decline_by_link(token: str, *, reason: str, now: datetime) -> bool:
    """Decline the assignment of a signed link; return False if it was declined before.

    Raises links.LinkRefused, declining.DeclineRefused.
    """
    with transaction.atomic():
        assignment = signed_links.opened_and_locked(token, now=now)
        return declining.decline(assignment, reason=reason, now=now)


def _tried_once(action: LearnerContentAssignmentAction) -> LearnerContentAssignmentAction:
    runner.drain(clock=timezone.now, limit=1, pks=[action.pk])
    action.refresh_from_db()
    return action
