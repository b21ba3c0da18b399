"""Redemption: a learner accepts an assignment. It is marked, then paid and moved; each step is repeatable.

`begin` marks the assignment as being redeemed and requests the work, in one short transaction. From then on
nothing else moves the assignment. `fulfil` spends the money and moves the assignment, with one idempotency
key for each allocation. After a crash, the runner repeats `fulfil` when the lease ends. Until it is spent,
the money stays reserved. If the work finally fails, `actions.finish` removes the mark, and the assignment is
open again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bursary.access import known_learners
from bursary.access.models import User, of_mailboxes
from bursary.assignments import actions, lifecycle, matching, offers
from bursary.assignments.choices import UNFINISHED, ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.offers import Offer
from bursary.assignments.open_assignments import awaits_answer, can_be_answered, is_overdue
from bursary.assignments.outcomes import Done
from bursary.budgets import ledger
from bursary.budgets.models import LedgerEntry, NotInUse
from bursary.lib import moments
from bursary.lib.locks import for_update
from bursary.lib.retries import repeated_after_deadlocks
from bursary.replica.joining import NotJoinable, joining_terms
from bursary.replica.reads import ContentUnavailable


@dataclass
class RedemptionRefused(Exception):
    """The learner cannot accept it, and nothing was changed. `reason` is the value on the wire."""

    reason: str
    sentence: str
    next_step: str
    details: Mapping[str, object] = field(default_factory=dict)
    """The run and the dates that decide, where its content cannot be joined."""

    def __str__(self) -> str:
        return self.sentence


ASK_FOR_ANOTHER_COURSE = gettext_lazy("Ask your organisation to assign another course to you.")
ASK_TO_ASSIGN_AGAIN = gettext_lazy("To take it after all, ask your organisation to assign it again.")
ASK_WHEN = gettext_lazy("Ask your organisation when it can be accepted; until then you can decline it.")

_REFUSED: Mapping[str, tuple[str, Any]] = {
    State.CANCELLED: (
        "reason_learner_assignment_cancelled",
        gettext_lazy("Your organisation cancelled this assignment."),
    ),
    State.EXPIRED: (
        "reason_learner_assignment_expired",
        gettext_lazy("The deadline for accepting this assignment has passed."),
    ),
    State.REVERSED: (
        "reason_learner_assignment_reversed",
        gettext_lazy("You left this course, and its price was refunded."),
    ),
}
_DECLINED = ("reason_learner_assignment_cancelled", gettext_lazy("You declined this assignment."))

_BEST_FIRST = (State.ALLOCATED, State.ACCEPTED, State.EXPIRED, State.CANCELLED, State.REVERSED)


def not_assigned() -> RedemptionRefused:
    """Return the refusal for a learner without such an assignment."""
    return RedemptionRefused(
        "reason_learner_not_assigned_content",
        _("This course is not assigned to you."),
        _("Ask your organisation for it."),
    )


def of_learner(*, lms_user_id: int | None, learner_key: str) -> QuerySet[LearnerContentAssignment]:
    """Return a learner's assignments, by LMS user id and by every address of the account with this key."""
    keys = known_learners.all_keys(learner_key)
    mine = of_mailboxes(keys) if keys else Q(pk__in=[])
    if lms_user_id is not None:
        mine |= Q(lms_user_id=lms_user_id)
    return LearnerContentAssignment.objects.filter(mine)


def accepted_runs(courses: Collection[str]) -> Q:
    """Return the condition that an assignment of a run of these courses is accepted or being redeemed."""
    taken = Q(state=State.ACCEPTED) | Q(redeeming_since__isnull=False)
    return Q(parent_content_key__in=courses) & taken


def covering(content_key: str, *, course: str | None = None) -> Q:
    """Return the condition that an assignment can be redeemed for this run or course.

    It is of the same content, of the `course` of this run, or of a run of this course that is accepted.
    """
    itself = Q(content_key=content_key) | accepted_runs([content_key])
    return itself | Q(content_key=course, parent_content_key="") if course else itself


def best_of(candidates: Iterable[LearnerContentAssignment]) -> LearnerContentAssignment | None:
    """Return an open assignment, else an accepted one, else the one that ended last; None without any."""
    newest_first = sorted(candidates, key=lambda one: (one.allocated_at, one.pk), reverse=True)
    return min(newest_first, key=lambda one: _BEST_FIRST.index(State(one.state)), default=None)


def chosen_by_key(
    candidates: Collection[LearnerContentAssignment], *, courses: Mapping[str, str | None], now: datetime
) -> dict[str, LearnerContentAssignment | None]:
    """Return, for each key of `courses`, the assignment to redeem or to show; None where there is none.

    Where one is accepted, or being redeemed, no open one of the same budget is paid for as well. `courses`
    has the course of each run, None for a course. At most one query.
    """
    taken = _taken_and_valid(candidates, now=now)
    found = {}
    for key, course in courses.items():
        paid = [one for one, valid in taken if _covers(one, key, course, valid=valid)]
        same = [one for one in candidates if one.content_key in (key, course)]
        found[key] = best_of({one for one in (*paid, *same) if not _paid_by(paid, instead_of=one, key=key)})
    return found


def _taken(assignment: LearnerContentAssignment) -> bool:
    return assignment.state == State.ACCEPTED or assignment.redeeming_since is not None


def _taken_and_valid(
    candidates: Iterable[LearnerContentAssignment], *, now: datetime
) -> list[tuple[LearnerContentAssignment, bool]]:
    """Return those accepted or being redeemed, each with whether its content goes on. One query at most."""
    taken = [one for one in candidates if _taken(one)]
    valid = {one.pk for one in matching.still_valid(taken, now=now)}
    return [(one, one.pk in valid) for one in taken]


def _covers(
    assignment: LearnerContentAssignment, content_key: str, course: str | None, *, valid: bool
) -> bool:
    """Return whether an accepted one covers this content: its own and, while it is valid, its course's."""
    same_course = assignment.content_key == course or assignment.parent_content_key == content_key
    return assignment.content_key == content_key or (valid and same_course)


def _paid_by(
    paid: Iterable[LearnerContentAssignment], *, instead_of: LearnerContentAssignment, key: str
) -> LearnerContentAssignment | None:
    """Return the one of `paid` that covers this open one; None if this one has to be paid for.

    It has to be if it was allocated, on request, for the same content after the other was accepted.
    """
    if instead_of.state != State.ALLOCATED or _taken(instead_of):
        return None
    others = [one for one in paid if one.budget_id == instead_of.budget_id]
    if instead_of.content_key == key:
        allocated_at = instead_of.allocated_at
        others = [one for one in others if one.accepted_at is None or one.accepted_at >= allocated_at]
    return best_of(others)


def refusal(
    assignment: LearnerContentAssignment | None, *, now: datetime, declined: bool = False
) -> RedemptionRefused | None:
    """Return why the assignment, as read, cannot be accepted at `now`; None where it can be, or was.

    `declined`: it is among `matching.which_declined`.
    """
    if assignment is None:
        return not_assigned()
    # A passed deadline counts before the task `expire` runs.
    state = State.EXPIRED if is_overdue(assignment, now=now) else assignment.state
    refused = _DECLINED if declined else _REFUSED.get(state)
    return RedemptionRefused(refused[0], str(refused[1]), str(ASK_TO_ASSIGN_AGAIN)) if refused else None


def budget_refusal(assignment: LearnerContentAssignment, *, now: datetime) -> RedemptionRefused | None:
    """Return why an open assignment cannot be accepted at present: its budget is not in use (decision 0012).

    It can be declined, and is cancelled and expires as usual. A redemption in flight is finished.
    """
    if not awaits_answer(assignment):
        return None
    budget = assignment.budget
    unused = budget.not_in_use(now)
    if unused is None:
        return None
    sentence = _("The budget that pays for this course is not in use at present.")
    next_step = str(ASK_WHEN)
    if unused is NotInUse.NOT_YET_OPEN and budget.starts_at:
        opens = moments.in_words(budget.starts_at, zone=budget.customer.zone)
        sentence = _("The budget that pays for this course opens on %(day)s.") % {"day": opens}
        next_step = _("Accept it from then on.")
    return RedemptionRefused(unused.refusal_reason, sentence, next_step)


def joining_refusals(
    asked: Sequence[tuple[LearnerContentAssignment, str]],
    *,
    now: datetime,
    ask: bool = False,
    known: Mapping[int, Offer | None] | None = None,
) -> dict[tuple[int, str], RedemptionRefused]:
    """Return the refusal of each open assignment with content that cannot be joined now, by pk and key.

    Each is given with the key to redeem: its own, or that of a run of its course. The assignments need their
    budgets and customers; `known` are offers that were read before. With `ask`, catalogs are asked for
    unknown content until one does not answer, which then refuses the rest. Not for use inside a transaction.
    """
    waiting = [(one, key) for one, key in asked if awaits_answer(one)]
    of_pk = {one.pk: one for one, _key in waiting}
    known = {**(known or {})}
    for read in (offers.of_assignments, _asked) if ask else (offers.of_assignments,):
        if unread := [one for pk, one in of_pk.items() if pk not in known]:
            known |= read(unread, now=now)
    unknown = None
    if ask:
        unknown = RedemptionRefused(
            ContentUnavailable.reason,
            _("The catalog does not answer at present."),
            _("Try again in a minute."),
        )
    found = {
        (one.pk, key): _joining_refusal(known[one.pk], one, key, now=now) if one.pk in known else unknown
        for one, key in waiting
    }
    return {pair: refused for pair, refused in found.items() if refused}


def _asked(assignments: Sequence[LearnerContentAssignment], *, now: datetime) -> dict[int, Offer | None]:
    found: dict[int, Offer | None] = {}
    with suppress(ContentUnavailable):  # those after it are left out
        for one in assignments:
            found[one.pk] = offers.of_assignment_or_fetched(one, now=now)
    return found


def _joining_refusal(
    offer: Offer | None, assignment: LearnerContentAssignment, content_key: str, *, now: datetime
) -> RedemptionRefused | None:
    must_open_before = assignment.expires_at
    try:
        if offer is not None and content_key == assignment.content_key:
            offer.terms(now=now, must_open_before=must_open_before)
            return None
        runs = [run for run in offer.runs if run.key == content_key] if offer is not None else []
        if runs:
            joining_terms(runs, advertised=content_key, now=now, must_open_before=must_open_before)
            return None
    except NotJoinable as refused:
        sentence = offers.in_words(
            refused, now=now, must_open_before=must_open_before, zone=assignment.budget.customer.zone
        )
        details = offers.details(refused, must_open_before=must_open_before)
        return RedemptionRefused(refused.reason, sentence, str(ASK_FOR_ANOTHER_COURSE), details)
    return RedemptionRefused(
        "content_not_in_catalog",
        _("This is no longer in your organisation's catalog."),
        str(ASK_FOR_ANOTHER_COURSE),
        {"content_key": content_key},
    )


def begin(
    assignment: LearnerContentAssignment,
    *,
    now: datetime,
    content_key: str = "",
    actor: User | None = None,
) -> LearnerContentAssignmentAction:
    """Mark the assignment as being redeemed and request the work; return it, also where it began before.

    `content_key` is the run of its course that the learner chose, if any: the action keeps it. Where another
    assignment of the course is accepted and covers it, that one's redemption is returned. Raises
    RedemptionRefused, also where the content cannot be joined any more, and reads.ContentUnavailable where
    that cannot be found out now. Not for use inside a transaction: upstream may be asked.
    """
    key, joining_refusal = content_key or assignment.content_key, None
    if can_be_answered(assignment, now=now):
        offer = offers.of_assignment_or_fetched(assignment, now=now)
        joining_refusal = _joining_refusal(offer, assignment, key, now=now)
    return _begin(assignment, key, joining_refusal, now=now, actor=actor)


@repeated_after_deadlocks
def _begin(
    assignment: LearnerContentAssignment,
    key: str,
    joining_refusal: RedemptionRefused | None,
    *,
    now: datetime,
    actor: User | None,
) -> LearnerContentAssignmentAction:
    """Request the redemption in one transaction; `joining_refusal` was found by asking upstream before."""
    with transaction.atomic():
        # The learner's assignments of the course in the budget: another may be paid, instead of this one.
        course = assignment.parent_content_key or assignment.content_key
        person = known_learners.same_person(
            assignment.mailbox_or_learner_key, lms_user_id=assignment.lms_user_id
        )
        mine = Q(pk=assignment.pk) | Q(matching.of_course(course), person)
        rows = for_update(LearnerContentAssignment.objects.filter(mine, budget=assignment.budget_id))
        of_course = {one.pk: one for one in rows.order_by("pk")}
        taken = _taken_and_valid(of_course.values(), now=now)
        paid = [one for one, valid in taken if _covers(one, key, course, valid=valid)]
        this = of_course[assignment.pk]
        locked = _paid_by(paid, instead_of=this, key=key) or this
        declined = bool(matching.which_declined([locked]))
        if refused := refusal(locked, now=now, declined=declined) or budget_refusal(locked, now=now):
            raise refused
        if joining_refusal and awaits_answer(locked):
            raise joining_refusal
        if existing := redemptions([locked]).get(locked.pk):
            return existing
        return _request(locked, "" if key == locked.content_key else key, now=now, actor=actor)


def redemptions(
    assignments: Collection[LearnerContentAssignment],
) -> dict[int, LearnerContentAssignmentAction]:
    """Return by pk the redemption of each assignment's cycle that is in flight or done. One query."""
    rows = LearnerContentAssignmentAction.objects.filter(
        action_type=ActionType.REDEEMED,
        assignment__in=[one.pk for one in assignments],
        assignment__state__in=[State.ALLOCATED, State.ACCEPTED],
        cycle=F("assignment__cycle"),
        status__in=[*UNFINISHED, Status.DONE],
    )
    return {row.assignment_id: row for row in rows.select_related("assignment__budget").order_by("pk")}


def _request(
    locked: LearnerContentAssignment, run_key: str, *, now: datetime, actor: User | None
) -> LearnerContentAssignmentAction:
    """Mark the assignment as being redeemed, by a run if one is given, and request the work; return it."""
    LearnerContentAssignment.objects.filter(pk=locked.pk).update(redeeming_since=now, modified=now)
    this_cycle = locked.actions.filter(action_type=ActionType.REDEEMED, cycle=locked.cycle)
    if failed := this_cycle.unresolved_failures().first():
        return actions.retry(failed, now=now, actor=actor, content_run_key=run_key)
    # Actions that were superseded, or failed and failed again when retried, have used their keys.
    before = this_cycle.count()
    dedup_key = f"again-{before}" if before else ""
    actions.request(
        [locked],
        [ActionType.REDEEMED],
        now=now,
        actor=actor,
        dedup_key=dedup_key,
        content_run_key=run_key,
    )
    return this_cycle.get(dedup_key=dedup_key)


@repeated_after_deadlocks
def fulfil(action: LearnerContentAssignmentAction, *, now: datetime) -> Done:
    """Spend the money and accept the assignment, both or neither, once however often this is called.

    If an earlier attempt has spent the money, the ledger returns that entry, and only the move follows.
    Raises ledger.LedgerError where the ledger refuses, and lifecycle.MoveRefused for an action of an earlier
    cycle, or an assignment that is not being redeemed.
    """
    with transaction.atomic():
        budget = ledger.lock(action.assignment.budget_id)
        assignment = for_update(LearnerContentAssignment.objects.all()).get(pk=action.assignment_id)
        if assignment.cycle != action.cycle:
            raise lifecycle.MoveRefused(ActionType.REDEEMED, [assignment])
        if assignment.state != State.ACCEPTED:
            spent = ledger.spend(budget, cents=assignment.price_cents, key=assignment.ledger_key, now=now)
            changes = {"transaction_uuid": spent.uuid}
            lifecycle.move(budget, [assignment], ActionType.REDEEMED, now=now, changes=changes)
    return Done(provider_ref=str(assignment.transaction_uuid))


@repeated_after_deadlocks
def reverse(transaction_uuid: UUID, *, now: datetime) -> LearnerContentAssignment:
    """Refund an accepted assignment's money and record it on its timeline.

    Raises LearnerContentAssignment.DoesNotExist, and lifecycle.MoveRefused unless it is accepted.
    """
    found = LearnerContentAssignment.objects.get(transaction_uuid=transaction_uuid)
    with transaction.atomic():
        budget = ledger.lock(found.budget_id)
        locked = for_update(LearnerContentAssignment.objects.all()).get(pk=found.pk)
        lifecycle.move(budget, [locked], ActionType.REVERSED, now=now)
        ledger.restore(LedgerEntry.objects.get(uuid=transaction_uuid), now=now)
    return locked
