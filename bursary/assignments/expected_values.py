"""What the derived columns are an index over, reckoned in Python row by row: to audit what SQL wrote.

Decision 0010 says which column is followed in which state. Reads, and writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bursary.assignments import derived, reminder_dates
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.reminder_dates import ReminderDate

_STARTING = (State.ALLOCATED, State.ACCEPTED)
_UNHEARD = (Status.SUPERSEDED, Status.SKIPPED)
_TOLD = (ActionType.NOTIFIED, ActionType.REMINDED)
_OF_INTEREST = (ActionType.LEARNER_LINKED, *_TOLD, ActionType.NUDGED)
_READ = ("assignment", "action_type", "dedup_key", "status", "created", "completed_at", "retry_of")

Actions = Sequence[LearnerContentAssignmentAction]


@dataclass(frozen=True, slots=True)
class DerivedDifference:
    """One derived column of one assignment does not say what is true."""

    pk: int
    assignment: UUID
    state: str
    column: str
    stored: object
    truth: object


def compare(pks: Sequence[int], *, now: datetime) -> list[DerivedDifference]:
    """Return what of these assignments' derived columns is not true at `now`. Two queries."""
    rows = list(
        LearnerContentAssignment.objects.filter(pk__in=pks)
        .select_related("budget", "content")
        .defer("content__payload", "content__partners")
        .order_by("pk")
    )
    actions: dict[int, list[LearnerContentAssignmentAction]] = {row.pk: [] for row in rows}
    cycles = {row.pk: row.cycle for row in rows}
    found = LearnerContentAssignmentAction.objects.filter(
        assignment__in=list(actions), action_type__in=_OF_INTEREST
    )
    for action in found.only(*_READ, "cycle").order_by("created", "pk"):
        if action.cycle == cycles[action.assignment_id]:
            actions[action.assignment_id].append(action)
    return [difference for row in rows for difference in _differences(row, actions[row.pk], now=now)]


def columns(assignment: LearnerContentAssignment, actions: Actions) -> dict[str, object]:
    """Return what the derived columns must say, as far as they are followed in the assignment's state.

    `actions` are those of its current cycle.
    """
    truth: dict[str, object] = {
        "learner_state": _learner_state(assignment, actions),
        "recent_action_at": _recent_action_at(assignment, actions),
    }
    content = assignment.content
    if content is not None:
        truth |= {
            "content_title": content.title.casefold()[: derived.TITLE_KEY_LENGTH],
            "content_start": content.start_date or FAR_FUTURE,
            "content_enroll_by": content.enroll_by or FAR_FUTURE,
        }
    if assignment.state == State.ALLOCATED:
        age = timedelta(days=assignment.budget.allocation_age_days)
        truth["age_ends_at"] = assignment.allocated_at + age
        truth["expires_at"], truth["expires_reason"] = derived.deadline_by(
            assignment.budget,
            # From before the replica: what was known when it was assigned is all that there is.
            enroll_by=content.enroll_by if content else assignment.content_enroll_by,
            allocated_at=assignment.allocated_at,
            due_date=assignment.due_date,
        )
    return truth


def looks(assignment: LearnerContentAssignment, actions: Actions, *, now: datetime) -> Mapping[str, datetime]:
    """Return by column when reminding and nudging must look at the latest, where they must look at all."""
    one, budget = assignment, assignment.budget
    latest: dict[str, datetime] = {}
    untold = one.state == State.ALLOCATED and _learner_state(one, actions) != LearnerState.WAITING
    if one.state not in _STARTING or untold:
        return latest
    starts_at = (one.content.start_date or FAR_FUTURE) if one.content else one.content_start
    if starts_at > now:
        nudges = reminder_dates.nudges(budget, starts_at=starts_at)
        latest["nudge_at"] = _look_at(one, nudges, actions, (ActionType.NUDGED,), now=now)
    expires_at = columns(one, actions).get("expires_at")
    if isinstance(expires_at, datetime) and expires_at > now:
        reminders = reminder_dates.reminders(budget, allocated_at=one.allocated_at, expires_at=expires_at)
        latest["remind_at"] = _look_at(one, reminders, actions, _TOLD, now=now)
    return latest


def _differences(
    assignment: LearnerContentAssignment, actions: Actions, *, now: datetime
) -> Iterator[DerivedDifference]:
    def difference(column: str, truth: object) -> DerivedDifference:
        stored = getattr(assignment, column)
        return DerivedDifference(assignment.pk, assignment.uuid, assignment.state, column, stored, truth)

    for column, truth in columns(assignment, actions).items():
        if getattr(assignment, column) != truth:
            yield difference(column, truth)
    for column, latest in looks(assignment, actions, now=now).items():
        if getattr(assignment, column) > latest:
            yield difference(column, latest)


def _learner_state(assignment: LearnerContentAssignment, actions: Actions) -> LearnerState:
    if assignment.state == State.EXPIRED:
        return LearnerState.EXPIRED
    if assignment.state != State.ALLOCATED:
        return LearnerState.NONE
    retried = {action.retry_of_id for action in actions}
    notifying = (ActionType.LEARNER_LINKED, ActionType.NOTIFIED)
    if any(
        one.action_type in notifying and one.status == Status.FAILED and one.pk not in retried
        for one in actions
    ):
        return LearnerState.FAILED
    told = any(one.action_type == ActionType.NOTIFIED and one.status == Status.DONE for one in actions)
    return LearnerState.WAITING if told else LearnerState.NOTIFYING


def _recent_action_at(assignment: LearnerContentAssignment, actions: Actions) -> datetime:
    reminded = (
        one.completed_at
        for one in actions
        if one.action_type == ActionType.REMINDED and one.status == Status.DONE and one.completed_at
    )
    return max(reminded, default=assignment.allocated_at)


def _look_at(
    assignment: LearnerContentAssignment,
    occasions: Sequence[ReminderDate],
    actions: Actions,
    mails: Sequence[ActionType],
    *,
    now: datetime,
) -> datetime:
    """Return when the next of the occasions comes, and `now` for one that has come and made no mail."""
    heard = [one for one in actions if one.action_type in mails]
    made = {one.dedup_key for one in heard if one.action_type == mails[-1]}
    heard_at = max(
        (one.completed_at or one.created for one in heard if one.status not in _UNHEARD),
        default=assignment.allocated_at,
    )
    plan = reminder_dates.plan(occasions, heard_at=max(heard_at, assignment.allocated_at), made=made, now=now)
    return now if plan.due else plan.look_at
