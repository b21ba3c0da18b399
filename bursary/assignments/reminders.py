"""Reminding who has not answered, and nudging who is about to start: by themselves, or as asked for.

By themselves on the occasions of the budget's tables (`schedule.py`). A look decides under the assignment's
lock and says when to look again, so a pause of the clock loses nothing, and each occasion makes one mail.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Literal
from uuid import UUID

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from bursary.access.models import User
from bursary.assignments import actions, derived, lifecycle, reminder_dates, sweeps
from bursary.assignments.choices import OPEN, ActionType, LearnerState, State, Status
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.reminder_dates import ReminderDate, ReminderPlan
from bursary.assignments.sweeps import Due, SweepResult
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib.locks import for_update

BREATHER = timedelta(minutes=10)
"""Who was written to is not written to again so soon, however often somebody clicks."""
_STARTING = (State.ALLOCATED, State.ACCEPTED)
_NOTHING_TO_DO = ReminderPlan(None, FAR_FUTURE)


def to_remind(now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the open assignments that reminding must look at by `now`; not each of them gets a mail."""
    return LearnerContentAssignment.objects.filter(
        state=State.ALLOCATED, remind_at__lte=now, redeeming_since=None
    )


def to_nudge(now: datetime) -> QuerySet[LearnerContentAssignment]:
    """Return the open and accepted assignments that nudging must look at by `now`; likewise."""
    return LearnerContentAssignment.objects.filter(
        state__in=_STARTING, nudge_at__lte=now, redeeming_since=None, forgotten_at=None
    )


def remind_due(*, now: datetime, progress: Callable[[int], None] | None = None) -> SweepResult:
    """Request a reminder wherever an occasion has come by `now`. Repeating it does no harm."""
    return _sweep(_REMINDING, now=now, progress=progress)


def nudge_due(*, now: datetime, progress: Callable[[int], None] | None = None) -> SweepResult:
    """Request a nudge wherever an occasion has come by `now`. Repeating it does no harm."""
    return _sweep(_NUDGING, now=now, progress=progress)


def count_due(due: Due, *, now: datetime) -> int:
    """Return how many assignments would be looked at."""
    return due(now).order_by().aggregate(count=Count("pk"))["count"] or 0


@dataclass
class ReminderResult:
    """What came of each assignment: requested now, sent a moment ago or on its way, or by uuid why not."""

    requested: list[UUID] = field(default_factory=list)
    on_their_way: list[UUID] = field(default_factory=list)
    refused: dict[UUID, str] = field(default_factory=dict)
    """By uuid: `unknown`, or where the assignment stands that forbids it."""


def remind(
    budget: Budget, *, uuids: Sequence[UUID], now: datetime, actor: User | None = None
) -> ReminderResult:
    """Remind the learners of those of the budget's assignments that are open; say what came of every one.

    While a mail that asks is on its way, and for some minutes after, another is not requested.
    """

    def objection(assignment: LearnerContentAssignment) -> str:
        if not assignment.redeeming_since and assignment.state == State.ALLOCATED:
            return "past its deadline" if assignment.expires_at <= now else ""
        return lifecycle.standing(assignment)

    asking = (ActionType.NOTIFIED, ActionType.REMINDED)
    return _ask(budget, uuids, ActionType.REMINDED, asking, objection, now=now, actor=actor)


def remind_waiting(
    matching: QuerySet[LearnerContentAssignment], *, budget: Budget, now: datetime, actor: User | None = None
) -> ReminderResult:
    """Remind whoever of `matching`, assignments of one budget, was told and has not answered."""
    waiting = matching.filter(budget=budget, state=State.ALLOCATED, learner_state=LearnerState.WAITING)
    outcome = ReminderResult()
    for uuids in sweeps.by_key(waiting):
        batch = remind(budget, uuids=uuids, now=now, actor=actor)
        outcome.requested += batch.requested
        outcome.on_their_way += batch.on_their_way
        outcome.refused |= batch.refused
    return outcome


def nudge(
    budget: Budget,
    *,
    uuids: Sequence[UUID],
    now: datetime,
    within_days: int | None = None,
    actor: User | None = None,
) -> ReminderResult:
    """Tell the learners of the budget's open and accepted assignments that the content starts soon.

    Soon is before it has started and, if given, within so many days.
    """

    def objection(assignment: LearnerContentAssignment) -> str:
        starts_at = assignment.content_start
        if assignment.redeeming_since or assignment.state not in _STARTING:
            return lifecycle.standing(assignment)
        if assignment.state == State.ALLOCATED and assignment.expires_at <= now:
            return "past its deadline"
        if starts_at >= FAR_FUTURE:
            return "without a start"
        if starts_at <= now:
            return "past its start"
        late = within_days is not None and starts_at > now + timedelta(days=within_days)
        return "not starting soon" if late else ""

    return _ask(budget, uuids, ActionType.NUDGED, (ActionType.NUDGED,), objection, now=now, actor=actor)


@dataclass(frozen=True)
class _Kind:
    """What tells reminding and nudging apart."""

    work: ActionType
    column: Literal["remind_at", "nudge_at"]
    due: Due
    heard: tuple[ActionType, ...]
    """Mails after which an occasion before them needs no other."""
    occasions: Callable[[Budget, LearnerContentAssignment], list[ReminderDate]]
    too_late: Callable[[LearnerContentAssignment], datetime]


_REMINDING = _Kind(
    ActionType.REMINDED,
    "remind_at",
    to_remind,
    (ActionType.NOTIFIED, ActionType.REMINDED),
    lambda budget, one: reminder_dates.reminders(
        budget, allocated_at=one.allocated_at, expires_at=one.expires_at
    ),
    lambda one: one.expires_at,
)
_NUDGING = _Kind(
    ActionType.NUDGED,
    "nudge_at",
    to_nudge,
    (ActionType.NUDGED,),
    lambda budget, one: reminder_dates.nudges(budget, starts_at=one.content_start),
    lambda one: min(one.content_start, one.expires_at if one.state == State.ALLOCATED else FAR_FUTURE),
)


class _Past:
    """What the learners of some assignments heard in the present cycle, and which occasions were made.

    What is still on its way covers whatever has come until now. What was skipped or taken back was not made,
    and what failed was not heard.
    """

    def __init__(
        self, assignments: Sequence[LearnerContentAssignment], kind: _Kind, *, now: datetime
    ) -> None:
        self._heard_at = {one.pk: one.allocated_at for one in assignments}
        self._made: dict[int, set[str]] = {one.pk: set() for one in assignments}
        self._used: dict[int, set[str]] = {one.pk: set() for one in assignments}
        told = LearnerContentAssignmentAction.objects.filter(
            assignment__in=list(self._made), action_type__in=kind.heard, cycle=F("assignment__cycle")
        )
        for row in told.only("assignment", "action_type", "dedup_key", "status", "created", "completed_at"):
            not_sent = row.status in (Status.SUPERSEDED, Status.SKIPPED)
            if row.action_type == kind.work:
                self._used[row.assignment_id].add(row.dedup_key)
                self._made[row.assignment_id] |= set() if not_sent else {row.dedup_key}
            if not not_sent and row.status != Status.FAILED:
                heard_at = now if row.status in OPEN else row.completed_at or row.created
                self._heard_at[row.assignment_id] = max(self._heard_at[row.assignment_id], heard_at)

    def plan(
        self, assignment: LearnerContentAssignment, occasions: list[ReminderDate], *, now: datetime
    ) -> ReminderPlan:
        made, heard_at = self._made[assignment.pk], self._heard_at[assignment.pk]
        return reminder_dates.plan(occasions, heard_at=heard_at, made=made, now=now)

    def unused(self, assignment: LearnerContentAssignment, name: str) -> str:
        """Return the occasion's name; with a number, where it was tried before and came to nothing."""
        used = self._used[assignment.pk]
        again = (f"{name}-again-{number}" for number in count(1))
        return name if name not in used else next(one for one in again if one not in used)


def _sweep(kind: _Kind, *, now: datetime, progress: Callable[[int], None] | None) -> SweepResult:
    def look(budget_pk: int) -> int:
        with transaction.atomic():
            budget = ledger.lock(budget_pk)  # before its assignments, like whoever changes its deadlines
            rows = sweeps.lock_batch(kind.due, budget_pk, now=now, order=kind.column)
            past = _Past(rows, kind, now=now)
            plans = {row: _look(row, kind, budget, past, now=now) for row in rows}
            wanted: dict[str, list[LearnerContentAssignment]] = {}
            for row, plan in plans.items():
                if plan.due:
                    wanted.setdefault(past.unused(row, plan.due.name), []).append(row)
            moments = {row: plan.look_at for row, plan in plans.items()}
            derived.look_again(moments, column=kind.column)
            for dedup_key, assignments in sorted(wanted.items()):
                actions.request(assignments, [kind.work], now=now, dedup_key=dedup_key)
        return sum(map(len, wanted.values()))

    return sweeps.sweep(kind.due, look, now=now, order=kind.column, progress=progress)


def _look(
    assignment: LearnerContentAssignment, kind: _Kind, budget: Budget, past: _Past, *, now: datetime
) -> ReminderPlan:
    """Return what to do for a locked assignment. Who was not told yet is looked at again once they are."""
    open_untold = assignment.state == State.ALLOCATED and assignment.learner_state != LearnerState.WAITING
    if open_untold or kind.too_late(assignment) <= now:
        return _NOTHING_TO_DO
    return past.plan(assignment, kind.occasions(budget, assignment), now=now)


def _ask(
    budget: Budget,
    uuids: Sequence[UUID],
    work: ActionType,
    same: Sequence[ActionType],
    objection: Callable[[LearnerContentAssignment], str],
    *,
    now: datetime,
    actor: User | None,
) -> ReminderResult:
    """Request `work` for those of the budget's assignments that nothing objects to.

    Where a mail of a kind in `same` is on its way, or went out a moment ago, nothing is added.
    """
    outcome = ReminderResult(refused=dict.fromkeys(uuids, "unknown"))
    with transaction.atomic():
        ledger.lock(budget.pk)
        named = LearnerContentAssignment.objects.filter(budget=budget, uuid__in=uuids)
        found = {one.uuid: one for one in for_update(named).order_by("pk")}
        recent = Q(status=Status.DONE, created__gt=now - BREATHER) | Q(status__in=OPEN)
        pending = LearnerContentAssignmentAction.objects.filter(
            recent, assignment__in=list(found.values()), action_type__in=list(same)
        )
        on_its_way = set(pending.filter(cycle=F("assignment__cycle")).values_list("assignment", flat=True))
        asked = []
        for uuid in dict.fromkeys(uuids):
            if (assignment := found.get(uuid)) is None:
                continue
            if why := "forgotten" if assignment.forgotten_at else objection(assignment):
                outcome.refused[uuid] = why
                continue
            del outcome.refused[uuid]
            if assignment.pk in on_its_way:
                outcome.on_their_way.append(uuid)
            else:
                outcome.requested.append(uuid)
                asked.append(assignment)
        actions.request(asked, [work], now=now, actor=actor, dedup_key=f"asked-{now:%Y-%m-%dT%H%M%S.%f}")
    return outcome
