"""Declining: a learner says no, with a reason if they like; the money is free at once.

Clients see it as cancelled. The timeline tells it apart from what an administrator took back.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from bursary.access.models import User
from bursary.assignments import lifecycle, redemption
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.lib.locks import for_update

LONGEST_REASON = 1000  # characters

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL stores no NUL, and nobody half a character
_TOO_LATE = "You need not do anything: it will not be taken up."


@dataclass
class DeclineRefused(Exception):
    """The learner cannot decline it, or not with these words. Nothing was changed."""

    reason: str
    sentence: str
    next_step: str

    def __str__(self) -> str:
        return self.sentence


def decline(
    assignment: LearnerContentAssignment, *, reason: str, now: datetime, actor: User | None = None
) -> bool:
    """Decline an open assignment, for `reason` (may be empty); False where the learner had declined before.

    Raises DeclineRefused where it is not open, past its deadline or being redeemed, or for the reason's text.
    """
    told = _readable(reason)
    with transaction.atomic():
        budget = ledger.lock(assignment.budget_id)
        locked = for_update(LearnerContentAssignment.objects.all()).get(pk=assignment.pk)
        if redemption.which_declined([locked]):
            return False
        if refused := _refusal(locked, now=now):
            raise refused
        changes = {"decline_reason": told}
        lifecycle.move(
            budget, [locked], ActionType.DECLINED, now=now, actor=actor, changes=changes, detail=told
        )
    return True


def _readable(reason: str) -> str:
    """Return the text, trimmed, with line breaks as one character. Raises DeclineRefused."""
    told = reason.replace("\r\n", "\n").strip()
    if len(told) > LONGEST_REASON:
        raise DeclineRefused(
            "decline_reason_too_long",
            f"The reason has {len(told)} characters, and {LONGEST_REASON} are read.",
            "Say it in fewer words, or without a reason.",
        )
    if _UNSTORABLE.search(told):
        raise DeclineRefused(
            "decline_reason_unreadable",
            "The reason has characters in it that nobody can read.",
            "Write it again, or decline without a reason.",
        )
    return told


def _refusal(assignment: LearnerContentAssignment, *, now: datetime) -> DeclineRefused | None:
    """Return why the assignment, as read, cannot be declined; None where it can."""
    if ended := redemption.refusal(assignment, now=now):
        return DeclineRefused(ended.reason, ended.sentence, _TOO_LATE)
    if assignment.state == State.ACCEPTED:
        return DeclineRefused(
            "reason_learner_assignment_accepted",
            "You took this course up before.",
            "To leave it, ask your organisation.",
        )
    if assignment.redeeming_since:
        return DeclineRefused(
            "reason_learner_assignment_being_redeemed",
            "This course is being taken up at this moment.",
            "Look again in a minute.",
        )
    return None
