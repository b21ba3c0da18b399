"""When a learner registers: assignments by address get to know the person, and two of one person may meet.

One of two stays: what was accepted before what is open, the older of two open ones. The other, if it is open,
is cancelled, and its timeline says why; no mail says so, for the learner still has the course.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from bursary.access.models import User
from bursary.assignments import actions, lifecycle, sweeps
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.lib import logs
from bursary.lib.locks import for_update

logger = logging.getLogger(__name__)

PEOPLE_PER_RUN = 1000
ASSIGNMENTS_PER_PERSON = 1000
MOST_FAILURES = 50  # a run
_STAYS_FIRST = (State.ACCEPTED, State.ALLOCATED)


@dataclass
class LinkingResult:
    """How many assignments were touched, and those (pks) that could not be, with the error."""

    done: int = 0
    failed: dict[int, str] = field(default_factory=dict)


def link_registered_users(*, now: datetime) -> LinkingResult:
    """Let the assignments of everybody who has registered know it. One that fails stops no other, and is
    tried again the next time; of `MOST_FAILURES` it is not they that are at fault."""
    theirs = _strangers(lms_user_id=OuterRef(OuterRef("lms_user_id"))).filter(
        learner_key=OuterRef("learner_key")
    )
    registered = User.objects.filter(Exists(theirs), lms_user_id__isnull=False).exclude(learner_key="")
    met = LinkingResult()
    for person in registered.order_by("pk")[:PEOPLE_PER_RUN]:
        for found in _found(person):
            try:
                met.done += _meet(found, person.pk, now=now)
            except sweeps.RECOVERABLE as failure:
                met.failed[found.pk] = logs.log_failure(
                    f"Assignment {found.pk} met nobody", failure, log=logger
                )
                if len(met.failed) == MOST_FAILURES:
                    return met
    return met


def link_user(person: User, *, now: datetime) -> int:
    """Let the open and accepted assignments of a person's address know the person; return how many changed.

    What is being redeemed waits for the next time. Of two that were both accepted each stays as it is.
    """
    return sum(_meet(found, person.pk, now=now) for found in _found(person))


class _Found(NamedTuple):
    """An assignment that may get to know somebody, and what never changes of it."""

    pk: int
    budget_pk: int
    content_key: str


def _found(person: User) -> list[_Found]:
    if person.lms_user_id is None or not person.learner_key:
        return []
    strangers = _strangers(lms_user_id=person.lms_user_id).filter(learner_key=person.learner_key)
    found = strangers.order_by("pk").values_list("pk", "budget_id", "content_key")[:ASSIGNMENTS_PER_PERSON]
    return [_Found(*row) for row in found]


def _strangers(*, lms_user_id: int | OuterRef) -> QuerySet[LearnerContentAssignment]:
    """Return what does not know its person and may: no row stays that would be looked at again in vain."""
    twins = LearnerContentAssignment.objects.filter(
        budget=OuterRef("budget"), content_key=OuterRef("content_key"), lms_user_id=lms_user_id
    )
    free = LearnerContentAssignment.objects.filter(
        lms_user_id=None, state__in=_STAYS_FIRST, redeeming_since=None, forgotten_at=None
    )
    return free.exclude(Exists(twins.filter(redeeming_since__isnull=False))).exclude(
        Q(state=State.ACCEPTED) & Exists(twins.filter(state=State.ACCEPTED))
    )


def _meet(found: _Found, person_pk: int, *, now: datetime) -> bool:
    with transaction.atomic():
        budget = ledger.lock(found.budget_pk)  # nobody allocates to either of them meanwhile
        person = User.objects.filter(pk=person_pk, lms_user_id__isnull=False).first()
        if person is None:
            return False
        either = Q(pk=found.pk) | Q(content_key=found.content_key, lms_user_id=person.lms_user_id)
        here = LearnerContentAssignment.objects.filter(either, budget=found.budget_pk)
        both = list(for_update(here).order_by("pk"))
        if not _may_meet(both, found, person):
            return False
        stays, *others = sorted(both, key=_rank)
        for other in others:
            LearnerContentAssignment.objects.filter(pk=other.pk).update(lms_user_id=None, modified=now)
            if other.state == State.ALLOCATED:
                why = f"The learner has the same course by assignment {stays.uuid}."
                lifecycle.move(budget, [other], ActionType.CANCELLED, now=now, detail=why)
                notice = [ActionType.CANCELLATION_NOTIFIED]
                actions.supersede([other.pk], notice, now=now, error_code="assigned_twice")
        LearnerContentAssignment.objects.filter(pk=stays.pk).update(
            lms_user_id=person.lms_user_id, modified=now
        )
    return True


def _may_meet(both: Sequence[LearnerContentAssignment], found: _Found, person: User) -> bool:
    """Tell whether, now that nothing moves, the found one is still a stranger of the person's."""
    newcomer = next((one for one in both if one.pk == found.pk), None)
    if newcomer is None or newcomer.lms_user_id is not None or newcomer.forgotten_at:
        return False
    theirs = bool(person.learner_key) and newcomer.learner_key == person.learner_key
    held = any(one.redeeming_since for one in both)
    settled = len(both) > 1 and all(one.state == State.ACCEPTED for one in both)
    return theirs and newcomer.state in _STAYS_FIRST and not held and not settled


def _rank(assignment: LearnerContentAssignment) -> tuple[int, datetime, int]:
    """Return what sorts the one that stays first."""
    state = State(assignment.state)
    order = _STAYS_FIRST.index(state) if state in _STAYS_FIRST else len(_STAYS_FIRST)
    return (order, assignment.allocated_at, assignment.pk)
