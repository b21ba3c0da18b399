"""The expected values of derived columns, computed in Python row by row, to audit what `derived` wrote.

Decision 0010 says which column is followed in which state. Reads only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet

from bursary.assignments import dates, derived
from bursary.assignments.choices import (
    ASKING_MAILS,
    IN_FORCE,
    LINK_AND_NOTIFY,
    UNFINISHED,
    ActionType,
    LearnerState,
    State,
    Status,
)
from bursary.assignments.dates import MailDate
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.lib.moments import FAR_FUTURE
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica import joining
from bursary.replica.joining import RunTerms
from bursary.replica.models import ContentMetadata, ContentType

_COMPARED = (ActionType.LEARNER_LINKED, *ASKING_MAILS, ActionType.NUDGED, ActionType.DECLINED)
_READ = ("assignment", "action_type", "cycle", "dedup_key", "status", "created", "completed_at", "retry_of")

Actions = Sequence[LearnerContentAssignmentAction]
Runs = Sequence[RunTerms]


@dataclass(frozen=True, slots=True)
class DerivedDifference:
    """A derived column of an assignment that differs from its expected value."""

    pk: int
    assignment: UUID
    state: str
    column: str
    stored: object
    expected: object


_PK = LearnerContentAssignment._meta.pk


@PreparedSelect
def _assignments() -> QuerySet[LearnerContentAssignment]:
    """Return these assignments, with what their columns are derived from."""
    return (
        LearnerContentAssignment.objects.filter(pk__in=Parameter("pks", _PK))
        .select_related("budget", "content")
        .annotate(in_catalog=derived.in_catalog())
        .defer("content__payload", "content__partners")
        .order_by("pk")
    )


@PreparedSelect
def _actions() -> QuerySet[LearnerContentAssignmentAction]:
    """Return the actions of these assignments that are compared."""
    these = {"assignment__in": Parameter("assignments", _PK), "action_type__in": _COMPARED}
    return LearnerContentAssignmentAction.objects.filter(**these).only(*_READ).order_by("created", "pk")


def compare(pks: Sequence[int], *, now: datetime) -> list[DerivedDifference]:
    """Return the derived columns of these assignments with wrong values at `now`. Three queries."""
    rows = _assignments.read(pks=pks)
    cycles = {row.pk: row.cycle for row in rows}
    actions: dict[int, list[LearnerContentAssignmentAction]] = {row.pk: [] for row in rows}
    for action in _actions.read(assignments=list(cycles)):
        if action.cycle == cycles[action.assignment_id]:
            actions[action.assignment_id].append(action)
    courses = {row.content.content_key for row in rows if row.content}
    runs = joining.runs_of(courses, catalogs={row.budget.catalog_uuid for row in rows})
    found: list[DerivedDifference] = []
    for row in rows:
        course = (row.budget.catalog_uuid, row.content.content_key if row.content else "")
        of_cycle, of_course = actions[row.pk], runs.get(course, ())
        expected = expected_columns(row, of_cycle, of_course, now=now)
        latest = latest_checks(row, of_cycle, of_course, now=now)
        wrong = {column: value for column, value in expected.items() if getattr(row, column) != value}
        wrong |= {column: at for column, at in latest.items() if getattr(row, column) > at}
        found += [
            DerivedDifference(row.pk, row.uuid, row.state, column, getattr(row, column), value)
            for column, value in wrong.items()
        ]
    return found


def expected_columns(
    assignment: LearnerContentAssignment, actions: Actions, runs: Runs, *, now: datetime
) -> dict[str, object]:
    """Return the expected values of the columns that are maintained in the assignment's state.

    `actions` are those of its current cycle, `runs` its course's in its budget's catalog.
    """
    # Without content that its catalog holds it keeps the date that was known before.
    content = _followed(assignment)
    join_by = _joined_by(assignment, runs, now=now) if content else assignment.content_enroll_by
    expected: dict[str, object] = {
        "learner_state": _learner_state(assignment, actions),
        "recent_action_at": _recent_action_at(assignment, actions),
    }
    if content is not None:
        expected |= {
            "content_title": derived.title_key(content.title),
            "content_start": content.start_date or FAR_FUTURE,
            "content_enroll_by": join_by,
            "parent_content_key": content.parent_key or assignment.parent_content_key,
        }
    if assignment.state == State.ALLOCATED:
        age = timedelta(days=assignment.budget.allocation_age_days)
        expected["age_ends_at"] = assignment.allocated_at + age
        expected["expires_at"], expected["expires_reason"] = dates.deadline(
            assignment.budget,
            join_by=join_by,
            allocated_at=assignment.allocated_at,
            due_date=assignment.due_date,
            extended_until=assignment.extended_until,
        )
    return expected


def latest_checks(
    assignment: LearnerContentAssignment, actions: Actions, runs: Runs, *, now: datetime
) -> Mapping[str, datetime]:
    """Return by column the latest allowed `remind_at` and `nudge_at`, where reminding or nudging apply."""
    one, budget = assignment, assignment.budget
    latest: dict[str, datetime] = {}
    unnotified = one.state == State.ALLOCATED and _learner_state(one, actions) != LearnerState.WAITING
    if one.state not in IN_FORCE or unnotified:
        return latest
    content = _followed(one)
    starts_at = (content.start_date or FAR_FUTURE) if content else one.content_start
    if starts_at > now:
        nudges = dates.nudges(budget, starts_at=starts_at)
        latest["nudge_at"] = _latest_check(one, nudges, actions, (ActionType.NUDGED,), now=now)
    expires_at = expected_columns(one, actions, runs, now=now).get("expires_at")
    if isinstance(expires_at, datetime) and expires_at > now:
        reminders = dates.reminders(budget, allocated_at=one.allocated_at, expires_at=expires_at)
        latest["remind_at"] = _latest_check(one, reminders, actions, ASKING_MAILS, now=now)
    return latest


def _followed(assignment: LearnerContentAssignment) -> ContentMetadata | None:
    """Return its content, unless its budget's catalog does not hold it: see `derived.in_catalog`."""
    return assignment.content if getattr(assignment, "in_catalog", True) else None


def _joined_by(assignment: LearnerContentAssignment, runs: Runs, *, now: datetime) -> datetime:
    """Return the content's part of the deadline, from the runs that open before the other dates."""
    content, age_ends_at = assignment.content, assignment.age_ends_at
    if assignment.state == State.ALLOCATED:
        age_ends_at = assignment.allocated_at + timedelta(days=assignment.budget.allocation_age_days)
    must_open_before = dates.deadline_without_enroll_by(assignment, age_ends_at=age_ends_at)
    join_by = joining.closing(content.enroll_by, content.end_date) if content else None
    if content and content.content_type == ContentType.COURSE:
        since = derived.joinable_from(assignment, now=now)
        join_by = joining.join_by(runs, now=since, must_open_before=must_open_before, otherwise=join_by)
    return join_by or FAR_FUTURE


def _learner_state(assignment: LearnerContentAssignment, actions: Actions) -> LearnerState:
    if assignment.state == State.EXPIRED:
        return LearnerState.EXPIRED
    if assignment.state != State.ALLOCATED:
        declined = any(one.action_type == ActionType.DECLINED for one in actions)
        return LearnerState.DECLINED if declined else LearnerState.NONE
    followed_up = {action.retry_of_id for action in actions}
    if any(
        one.action_type in LINK_AND_NOTIFY and one.status == Status.FAILED and one.pk not in followed_up
        for one in actions
    ):
        return LearnerState.FAILED
    mails = {one.status for one in actions if one.action_type == ActionType.NOTIFIED}
    if Status.DONE in mails:
        return LearnerState.WAITING
    skipped = Status.SKIPPED in mails and mails.isdisjoint(UNFINISHED)
    return LearnerState.FAILED if skipped else LearnerState.NOTIFYING


def _recent_action_at(assignment: LearnerContentAssignment, actions: Actions) -> datetime:
    reminded = (
        one.completed_at
        for one in actions
        if one.action_type == ActionType.REMINDED and one.status == Status.DONE and one.completed_at
    )
    return max(reminded, default=assignment.allocated_at)


def _latest_check(
    assignment: LearnerContentAssignment,
    mail_dates: Sequence[MailDate],
    actions: Actions,
    mails: Sequence[ActionType],
    *,
    now: datetime,
) -> datetime:
    """Return the next of the dates; `now` if one has passed without a mail."""
    sent = [one for one in actions if one.action_type in mails]
    used = {one.dedup_key for one in sent if one.action_type == mails[-1]}
    contacts = (
        one.completed_at or one.created
        for one in sent
        if one.status not in (Status.SUPERSEDED, Status.SKIPPED)
    )
    last_contact = max([assignment.allocated_at, *contacts])
    plan = dates.plan(mail_dates, last_contact=last_contact, used=used, now=now)
    return now if plan.due else plan.next_check
