"""Declining: the learner declines an assignment, with a reason if they give one; its money is free at once.

Clients see it as cancelled. The timeline distinguishes it from a cancellation by an administrator.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from bursary.access.models import User
from bursary.assignments import lifecycle, matching, redemption
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks
from bursary.lib.texts import is_storable

LONGEST_REASON = 1000  # characters


@dataclass
class DeclineRefused(Exception):
    """The assignment cannot be declined, or not for this reason. Nothing was changed."""

    reason: str
    sentence: str
    next_step: str

    def __str__(self) -> str:
        return self.sentence


@repeated_after_deadlocks
def decline(
    assignment: LearnerContentAssignment, *, reason: str, now: datetime, actor: User | None = None
) -> bool:
    """Decline an open assignment, for `reason` (may be empty); return False where it was declined before.

    Raises DeclineRefused where it is not open, past its deadline or being redeemed, or for the reason's text.
    """
    text = _checked_text(reason)
    with transaction.atomic():
        budget = ledger.lock(assignment.budget_id)
        locked = for_update(LearnerContentAssignment.objects.all()).get(pk=assignment.pk)
        if matching.which_declined([locked]):
            return False
        if refused := _refusal(locked, now=now):
            raise refused
        changes = {"decline_reason": text}
        lifecycle.move(
            budget, [locked], ActionType.DECLINED, now=now, actor=actor, changes=changes, detail=text
        )
    return True


def _checked_text(reason: str) -> str:
    """Return the reason, trimmed, with line breaks as one character. Raises DeclineRefused."""
    text = reason.replace("\r\n", "\n").strip()
    if len(text) > LONGEST_REASON:
        raise DeclineRefused(
            "decline_reason_too_long",
            _("The reason has %(count)d characters; %(most)d are allowed.")
            % {"count": len(text), "most": LONGEST_REASON},
            _("Shorten the reason, or leave it out."),
        )
    if not is_storable(text):
        raise DeclineRefused(
            "decline_reason_unreadable",
            _("The reason contains characters that cannot be displayed."),
            _("Write it again, or decline without a reason."),
        )
    return text


def _refusal(assignment: LearnerContentAssignment, *, now: datetime) -> DeclineRefused | None:
    """Return why the assignment, as read, cannot be declined; None where it can."""
    if refused := redemption.refusal(assignment, now=now):
        nothing_to_do = _("You need not do anything: it cannot be accepted any more.")
        return DeclineRefused(refused.reason, refused.sentence, nothing_to_do)
    if assignment.state == State.ACCEPTED:
        return DeclineRefused(
            "reason_learner_assignment_accepted",
            _("You have already accepted this course."),
            _("To leave it, ask your organisation."),
        )
    if assignment.redeeming_since:
        return DeclineRefused(
            "reason_learner_assignment_being_redeemed",
            _("This course is being accepted at this moment."),
            _("Try again in a minute."),
        )
    return None
