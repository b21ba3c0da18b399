"""Reminders before the deadline and nudges before the start: on the budget's dates, or on request.

A sweep locks assignments, requests the due mails, and writes when to check next. So a pause of the
scheduler loses no mail, and each date causes at most one (`dates`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Literal
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from bursary.access.models import User
from bursary.assignments import (
    actions,
    content_display,
    dates,
    derived,
    lifecycle,
    named_assignments,
    sweeps,
)
from bursary.assignments.choices import (
    ASKING_MAILS,
    IN_FORCE,
    UNFINISHED,
    ActionType,
    LearnerState,
    State,
    Status,
)
from bursary.assignments.dates import MailDate, MailPlan
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.named_assignments import NamedResult
from bursary.assignments.open_assignments import AWAITS_ANSWER, awaits_answer
from bursary.assignments.sweeps import DueRows, SweepResult
from bursary.budgets import ledger
from bursary.budgets.models import Budget
from bursary.lib.batches import ProgressCallback
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.prepared import Parameter
from bursary.lib.retries import repeated_after_deadlocks

REQUEST_INTERVAL = timedelta(minutes=10)  # at least, between two mails on request to one learner
_UNUSED = "from a budget that is not in use"
STARTED = "past its start"
WITHOUT_START = "without a start"


def to_remind(now: datetime | Parameter) -> QuerySet[LearnerContentAssignment]:
    """Return the open assignments to check for a reminder at `now`; not each of them gets a mail."""
    return LearnerContentAssignment.objects.filter(AWAITS_ANSWER, remind_at__lte=now)


def to_nudge(now: datetime | Parameter) -> QuerySet[LearnerContentAssignment]:
    """Return the open and accepted assignments to check for a nudge at `now`; not each gets a mail."""
    return LearnerContentAssignment.objects.filter(
        state__in=IN_FORCE, nudge_at__lte=now, redeeming_since=None, forgotten_at=None
    )


def remind_due(*, now: datetime, on_progress: ProgressCallback | None = None) -> SweepResult:
    """Request the reminders that are due at `now`. Idempotent."""
    return _sweep(_REMINDING, now=now, on_progress=on_progress)


def nudge_due(*, now: datetime, on_progress: ProgressCallback | None = None) -> SweepResult:
    """Request the nudges that are due at `now`. Idempotent."""
    return _sweep(_NUDGING, now=now, on_progress=on_progress)


@dataclass
class ReminderResult(NamedResult):
    """The result for each assignment: requested, sent a moment ago or under way, or refused."""

    requested: list[UUID] = field(default_factory=list)
    on_their_way: list[UUID] = field(default_factory=list)


def remind(
    budget: Budget, *, uuids: Sequence[UUID], now: datetime, actor: User | None = None, turn: int = 0
) -> ReminderResult:
    """Remind the learners of the budget's assignments with these uuids, where they are open.

    While an invitation or reminder is under way, and for `REQUEST_INTERVAL` after, no other is requested.
    `turn` is that of `actions.request`.
    """

    def objection(assignment: LearnerContentAssignment) -> str:
        if awaits_answer(assignment):
            if assignment.expires_at <= now:
                return "past its deadline"
            return _UNUSED if budget.not_in_use(now) else ""
        return lifecycle.blocking_state(assignment)

    return _request(
        budget, uuids, ActionType.REMINDED, ASKING_MAILS, objection, now=now, actor=actor, turn=turn
    )


def remind_waiting(
    budget: Budget, *, uuids: Sequence[UUID], now: datetime, actor: User | None = None
) -> ReminderResult:
    """Remind the notified learners of the budget's open assignments with these uuids, batch by batch."""
    outcome = ReminderResult()
    waiting = LearnerContentAssignment.objects.filter(
        budget=budget, state=State.ALLOCATED, learner_state=LearnerState.WAITING
    )
    for some in sweeps.uuid_batches(waiting, among=uuids):
        outcome.add(remind(budget, uuids=some, now=now, actor=actor, turn=len(outcome.requested)))
    return outcome


def nudge(
    budget: Budget,
    *,
    uuids: Sequence[UUID],
    now: datetime,
    within_days: int | None = None,
    actor: User | None = None,
) -> ReminderResult:
    """Nudge the learners of the budget's assignments with these uuids, where they are open or accepted.

    The start that learners read must be ahead and, if given, within so many days. Not for use inside a
    transaction.
    """
    further = _starts_of_further_runs(budget, uuids, now=now)

    def objection(assignment: LearnerContentAssignment) -> str:
        starts_at = further.get(assignment.pk, assignment.content_start)
        if assignment.redeeming_since or assignment.state not in IN_FORCE:
            return lifecycle.blocking_state(assignment)
        if assignment.state == State.ALLOCATED and assignment.expires_at <= now:
            return "past its deadline"
        if assignment.state == State.ALLOCATED and budget.not_in_use(now):
            return _UNUSED
        if starts_at >= FAR_FUTURE:
            return WITHOUT_START
        if starts_at <= now:
            return STARTED
        late = within_days is not None and starts_at > now + timedelta(days=within_days)
        return "not starting soon" if late else ""

    return _request(budget, uuids, ActionType.NUDGED, (ActionType.NUDGED,), objection, now=now, actor=actor)


def _starts_of_further_runs(budget: Budget, uuids: Sequence[UUID], *, now: datetime) -> dict[int, datetime]:
    """Return by pk the starts that learners read of those without a start of their own ahead."""
    past = Q(content_start__lte=now) | Q(content_start__gte=FAR_FUTURE)
    rows = LearnerContentAssignment.objects.filter(past, budget=budget, uuid__in=uuids, state__in=IN_FORCE)
    found = list(rows.select_related("budget", "content").defer("content__payload"))
    content_display.load_shown_content(found, now=now)
    starts = content_display.starts_of(found, now=now)
    return {pk: starts_at for pk, starts_at in starts.items() if starts_at}


@dataclass(frozen=True)
class _Kind:
    """The columns, dates and action types of reminding, or of nudging."""

    work: ActionType
    column: Literal["remind_at", "nudge_at"]
    due: DueRows
    contacts: tuple[ActionType, ...]
    """Mails that cover the dates before them."""
    dates: Callable[[Budget, LearnerContentAssignment], list[MailDate]]
    ends_at: Callable[[LearnerContentAssignment], datetime]
    """When it is too late for a mail."""


_REMINDING = _Kind(
    ActionType.REMINDED,
    "remind_at",
    to_remind,
    ASKING_MAILS,
    lambda budget, one: dates.reminders(budget, allocated_at=one.allocated_at, expires_at=one.expires_at),
    lambda one: one.expires_at,
)
_NUDGING = _Kind(
    ActionType.NUDGED,
    "nudge_at",
    to_nudge,
    (ActionType.NUDGED,),
    lambda budget, one: dates.nudges(budget, starts_at=one.content_start),
    lambda one: min(one.content_start, one.expires_at if one.state == State.ALLOCATED else FAR_FUTURE),
)


class _History:
    """The mails to the learners of some assignments in the current cycle.

    An open mail counts as a contact at this moment, a failed one as none. The date of a skipped or superseded
    mail can be used again.
    """

    def __init__(
        self, assignments: Sequence[LearnerContentAssignment], kind: _Kind, *, now: datetime
    ) -> None:
        self._kind = kind
        self._last_contact = {one.pk: one.allocated_at for one in assignments}
        self._used: dict[int, set[str]] = {one.pk: set() for one in assignments}
        self._keys: dict[int, set[str]] = {one.pk: set() for one in assignments}
        mails = LearnerContentAssignmentAction.objects.filter(
            assignment__in=list(self._used), action_type__in=kind.contacts, cycle=F("assignment__cycle")
        )
        for row in mails.only("assignment", "action_type", "dedup_key", "status", "created", "completed_at"):
            pk, dropped = row.assignment_id, row.status in (Status.SUPERSEDED, Status.SKIPPED)
            if row.action_type == kind.work:
                self._keys[pk].add(row.dedup_key)
                if not dropped:
                    self._used[pk].add(row.dedup_key)
            if not dropped and row.status != Status.FAILED:
                contact = now if row.status in UNFINISHED else row.completed_at or row.created
                self._last_contact[pk] = max(self._last_contact[pk], contact)

    def plan(self, assignment: LearnerContentAssignment, budget: Budget, *, now: datetime) -> MailPlan:
        """Return what is due; nothing while the learner is not notified: `derived` then schedules a check."""
        unnotified = assignment.state == State.ALLOCATED and assignment.learner_state != LearnerState.WAITING
        if unnotified or self._kind.ends_at(assignment) <= now:
            return MailPlan(None, FAR_FUTURE)
        mail_dates = self._kind.dates(budget, assignment)
        last_contact, used = self._last_contact[assignment.pk], self._used[assignment.pk]
        return dates.plan(mail_dates, last_contact=last_contact, used=used, now=now)

    def free_key(self, assignment: LearnerContentAssignment, name: str) -> str:
        """Return the date's name as `dedup_key`, with a number if a skipped or superseded action has it."""
        keys = self._keys[assignment.pk]
        numbered = (f"{name}-again-{number}" for number in count(1))
        return name if name not in keys else next(key for key in numbered if key not in keys)


def _sweep(kind: _Kind, *, now: datetime, on_progress: ProgressCallback | None) -> SweepResult:
    def check_batch(budget_pk: int, turn: int) -> int:
        with transaction.atomic():
            budget = ledger.lock(budget_pk)  # before its assignments, like every change of its deadlines
            rows = sweeps.lock_batch(kind.due, budget_pk, now=now, order=kind.column)
            history = _History(rows, kind, now=now)
            plans = {row: history.plan(row, budget, now=now) for row in rows}
            due: dict[str, list[LearnerContentAssignment]] = {}
            for row, plan in plans.items():
                if plan.due:
                    due.setdefault(history.free_key(row, plan.due.name), []).append(row)
            next_checks = {row: plan.next_check for row, plan in plans.items()}
            derived.write_next_checks(next_checks, column=kind.column)
            for dedup_key, assignments in sorted(due.items()):
                actions.request(assignments, [kind.work], now=now, dedup_key=dedup_key, turn=turn)
                turn += len(assignments)
        return sum(map(len, due.values()))

    return sweeps.sweep(kind.due, check_batch, now=now, order=kind.column, on_progress=on_progress)


def too_recent_mails(
    assignments: QuerySet[LearnerContentAssignment], *, now: datetime
) -> QuerySet[LearnerContentAssignmentAction]:
    """Return the mails to these assignments' learners because of which no reminder is requested at `now`."""
    return _recent(ASKING_MAILS, now=now).filter(assignment__in=assignments.values("pk"))


def _recent(kinds: Sequence[ActionType], *, now: datetime) -> QuerySet[LearnerContentAssignmentAction]:
    """Return the mails of these types, in the current cycle, that are open or were just sent."""
    recent = Q(status=Status.DONE, created__gt=now - REQUEST_INTERVAL) | Q(status__in=UNFINISHED)
    return LearnerContentAssignmentAction.objects.filter(
        recent, action_type__in=list(kinds), cycle=F("assignment__cycle")
    )


@repeated_after_deadlocks
def _request(
    budget: Budget,
    uuids: Sequence[UUID],
    work: ActionType,
    same: Sequence[ActionType],
    objection: Callable[[LearnerContentAssignment], str],
    *,
    now: datetime,
    actor: User | None,
    turn: int = 0,
) -> ReminderResult:
    """Request `work` for the budget's assignments with these uuids for which `objection` is empty.

    Nothing is added where a mail of a type in `same` is open, or younger than `REQUEST_INTERVAL`.
    """
    outcome = ReminderResult()
    with transaction.atomic():
        found = named_assignments.lock(ledger.lock(budget.pk), uuids)
        mails = _recent(same, now=now).filter(assignment__in=list(found.values()))
        on_their_way = set(mails.values_list("assignment", flat=True))
        for assignment in outcome.known(uuids, found):
            if why := "forgotten" if assignment.forgotten_at else objection(assignment):
                outcome.refused[assignment.uuid] = why
            elif assignment.pk in on_their_way:
                outcome.on_their_way.append(assignment.uuid)
            else:
                outcome.requested.append(assignment.uuid)
        asked = [found[uuid] for uuid in outcome.requested]
        asked_at = f"asked-{now:%Y-%m-%dT%H%M%S.%f}"
        actions.request(asked, [work], now=now, actor=actor, dedup_key=asked_at, turn=turn)
    return outcome
