"""What a learner is asked about an assignment, and their answer: by the link in a mail, or signed in."""

import enum
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from bursary.access.models import User
from bursary.assignments import content_display, declining, redemption, signed_links
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.dashboard.overview import own_assignments
from bursary.delivery import runner
from bursary.delivery.emails import DeadlineText, deadline_in_words
from bursary.replica import reads


class Standing(enum.StrEnum):
    """What there is to do for the learner."""

    OPEN = "open"
    """To answer."""
    BUSY = "busy"
    """To wait: it is being taken up."""
    ACCEPTED = "accepted"
    """To go to the course."""
    ENDED = "ended"
    """Nothing any more."""


@dataclass(frozen=True)
class Invitation:
    """An assignment as its learner sees it, without its price."""

    assignment: LearnerContentAssignment
    standing: Standing
    state: str
    """In a word: its state as of now, or `declined`."""
    deadline: DeadlineText | None
    course_url: str
    """Where accepting leads; empty where upstream does not say."""
    ended: redemption.RedemptionRefused | None
    """Why it cannot be answered any more."""
    longest_reason: int = declining.LONGEST_REASON

    @property
    def leads_to(self) -> str:
        """Where the form goes on to; empty where there is none to send."""
        return self.course_url if self.standing is Standing.OPEN else ""


def invitation(assignment: LearnerContentAssignment, *, now: datetime) -> Invitation:
    """Return what its learner sees of the assignment at `now`. At most two queries."""
    content_display.attach_content([assignment], now=now)
    declined = bool(redemption.which_declined([assignment]))
    ended = redemption.refusal(assignment, now=now, declined=declined)
    passed = bool(ended) and assignment.state == State.ALLOCATED
    dated = assignment.state in (State.ALLOCATED, State.EXPIRED)
    return Invitation(
        assignment=assignment,
        standing=_standing(assignment, ended),
        state="declined" if declined else State.EXPIRED if passed else assignment.state,
        deadline=deadline_in_words(assignment) if dated else None,
        course_url="" if ended else course_url(assignment),
        ended=ended,
    )


def course_url(assignment: LearnerContentAssignment) -> str:
    """Return where accepting leads; empty where upstream does not say."""
    return reads.courseware_url(assignment.content_key, catalog_uuid=assignment.budget.catalog_uuid)


def accept(uuid: UUID, *, learner: User, now: datetime) -> LearnerContentAssignmentAction | None:
    """Redeem the learner's own assignment; return how that stands, or None where they have no such one.

    Tried once here; the runner repeats what does not get to its end. Raises redemption.RedemptionRefused.
    """
    assignment = own_assignments(learner).filter(uuid=uuid).first()
    if assignment is None:
        return None
    return _tried(redemption.begin(assignment, now=now, actor=learner))


def decline(uuid: UUID, *, learner: User, reason: str, now: datetime) -> bool | None:
    """Decline the learner's own assignment; False where they had before, None where they have no such one.

    Raises declining.DeclineRefused.
    """
    assignment = own_assignments(learner).filter(uuid=uuid).first()
    if assignment is None:
        return None
    return declining.decline(assignment, reason=reason, now=now, actor=learner)


def accept_by_link(token: str, *, now: datetime) -> LearnerContentAssignmentAction:
    """Redeem what a signed link opens, as `take_up`.

    Raises links.LinkRefused, redemption.RedemptionRefused.
    """
    with transaction.atomic():
        begun = redemption.begin(signed_links.opened_to_answer(token, now=now), now=now)
    return _tried(begun)


def decline_by_link(token: str, *, reason: str, now: datetime) -> bool:
    """Decline what a signed link opens, as `decline`. Raises links.LinkRefused, declining.DeclineRefused."""
    with transaction.atomic():
        assignment = signed_links.opened_to_answer(token, now=now)
        return declining.decline(assignment, reason=reason, now=now)


def _tried(begun: LearnerContentAssignmentAction) -> LearnerContentAssignmentAction:
    runner.drain(clock=timezone.now, most=1, pks=[begun.pk])
    begun.refresh_from_db()
    return begun


def _standing(assignment: LearnerContentAssignment, ended: redemption.RedemptionRefused | None) -> Standing:
    if ended:
        return Standing.ENDED
    if assignment.state == State.ACCEPTED:
        return Standing.ACCEPTED
    return Standing.BUSY if assignment.redeeming_since else Standing.OPEN
