"""When a learner registers: assignments by address get to know the person, and two of one person may meet.

One of two stays: what was accepted before what is open, the older of two open ones. The other, if it is open,
is cancelled, and its timeline says why; no mail says so, for the learner still has the course.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef

from bursary.access.models import User
from bursary.assignments import actions, lifecycle
from bursary.assignments.models import ActionType, LearnerContentAssignment, State
from bursary.budgets import ledger

PEOPLE_PER_RUN = 1000
ASSIGNMENTS_PER_PERSON = 1000
_STAYS_FIRST = (State.ACCEPTED, State.ALLOCATED)


def meet_all(*, now: datetime) -> int:
    """Let the assignments of everybody who has registered know it; return how many were touched."""
    strangers = LearnerContentAssignment.objects.filter(
        learner_key=OuterRef("learner_key"), lms_user_id=None, state__in=_STAYS_FIRST
    )
    registered = User.objects.filter(Exists(strangers), lms_user_id__isnull=False).exclude(learner_key="")
    return sum(meet(person, now=now) for person in registered.order_by("pk")[:PEOPLE_PER_RUN])


def meet(person: User, *, now: datetime) -> int:
    """Let the open and accepted assignments of a person's address know the person; return how many changed.

    What is being redeemed waits for the next time.
    """
    if person.lms_user_id is None or not person.learner_key:
        return 0
    strangers = LearnerContentAssignment.objects.filter(
        learner_key=person.learner_key, lms_user_id=None, state__in=_STAYS_FIRST, redeeming_since=None
    )
    found = strangers.order_by("pk").values_list("pk", "budget_id")[:ASSIGNMENTS_PER_PERSON]
    return sum(_meet(pk, budget_pk, person.lms_user_id, now=now) for pk, budget_pk in list(found))


def _meet(pk: int, budget_pk: int, lms_user_id: int, *, now: datetime) -> bool:
    with transaction.atomic():
        budget = ledger.lock(budget_pk)  # nobody allocates to either of them meanwhile
        assignments = LearnerContentAssignment.objects.select_for_update()
        newcomer = assignments.get(pk=pk)
        same = assignments.filter(
            budget=budget_pk, content_key=newcomer.content_key, lms_user_id=lms_user_id
        ).first()
        both = [newcomer, same] if same else [newcomer]
        if newcomer.lms_user_id is not None or any(one.redeeming_since for one in both):
            return False
        stays, *others = sorted(both, key=_rank)
        for other in others:
            LearnerContentAssignment.objects.filter(pk=other.pk).update(lms_user_id=None, modified=now)
            if other.state == State.ALLOCATED:
                why = f"The learner has the same course by assignment {stays.uuid}."
                lifecycle.move(budget, [other], ActionType.CANCELLED, now=now, detail=why)
                notice = [ActionType.CANCELLATION_NOTIFIED]
                actions.supersede([other.pk], notice, now=now, cause="assigned_twice")
        LearnerContentAssignment.objects.filter(pk=stays.pk).update(lms_user_id=lms_user_id, modified=now)
    return True


def _rank(assignment: LearnerContentAssignment) -> tuple[int, datetime, int]:
    """Return what sorts the one that stays first."""
    state = State(assignment.state)
    order = _STAYS_FIRST.index(state) if state in _STAYS_FIRST else len(_STAYS_FIRST)
    return (order, assignment.allocated_at, assignment.pk)
