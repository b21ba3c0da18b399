"""The page of one assignment: all details for its administrators, the essentials for its learner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.db.models import Exists, OuterRef, Subquery
from django.http import Http404

from bursary.access.models import Role, User
from bursary.access.permissions import PERMISSIONS, Permission, granted, roles_of
from bursary.assignments import content_display, derived, failures, listing
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.dashboard import chips, content_comparison, life_steps, remedies, timeline_entries
from bursary.dashboard.chips import Chip
from bursary.dashboard.content_comparison import ContentRow
from bursary.dashboard.learner_answers import Invitation, invitation
from bursary.dashboard.life_steps import LifeSteps
from bursary.dashboard.overview import own_assignments
from bursary.dashboard.remedies import AvailableRemedies
from bursary.dashboard.timeline_entries import EntryReader, TimelineEntry
from bursary.delivery.emails import DeadlineText, deadline_text

NOT_FOUND = "There is no such assignment."
FOLLOWED = timedelta(minutes=5)


@dataclass(frozen=True)
class AdministratorPart:
    """The part of the page for the assignment's administrators."""

    chip: Chip
    remedies: AvailableRemedies
    life: LifeSteps
    entries: Sequence[TimelineEntry]
    """The newest entry first."""
    pages: Page[int]
    """The page of the timeline that has the entries."""
    content: Sequence[ContentRow]
    content_differs: bool
    of_course: bool
    """Whether the content is a course, with runs that each have dates of their own."""
    in_catalog: bool
    starts_at: datetime | None
    """The start that the learner's page shows."""
    of_another_run: bool
    """Whether that is the start of another run than the content's own, which is a course's advertised run."""
    message: str | None
    """The message to the learners of the latest batch that allocated it; None without a batch."""
    links_ended_by_correction: bool
    """Whether the links were revoked when the address was corrected."""
    under_way: bool
    """Whether work on it is due, or soon will be."""
    followed: bool
    """Whether the page polls that work: until it has been due for `FOLLOWED`, as no worker may be running."""


@dataclass(frozen=True)
class AssignmentPage:
    """An assignment as its reader may see it: the administrators' page, or the learner's."""

    assignment: LearnerContentAssignment
    deadline: DeadlineText | None
    of_administrator: AdministratorPart | None
    invitation: Invitation | None
    """Set if the learner's page is shown."""
    is_own: bool
    """Whether the reader is the learner."""


def load(
    uuid: UUID, *, reader: User, now: datetime, number: str = "1", as_learner: bool = False
) -> AssignmentPage | None:
    """Return the assignment as `reader` may see it; None if there is none that the reader may see.

    `number` is the page of its timeline. An administrator that is also the learner gets the administrators'
    page or, with `as_learner`, the learner's. At most ten queries.
    """
    own = Exists(own_assignments(reader).filter(pk=OuterRef("pk")))
    batches = AllocationBatch.objects.filter(uuid=OuterRef("allocation_batch_uuid"))
    rows = LearnerContentAssignment.objects.filter(uuid=uuid)
    rows = rows.annotate(own=own, message=Subquery(batches.values("message")[:1]))
    found = rows.values_list("pk", "budget__customer", "own", "message").first()
    if found is None:
        return None
    pk, customer_pk, is_own, message = found
    roles = roles_of(reader, customer_pk=customer_pk)
    administers = not PERMISSIONS[Permission.READ_ASSIGNMENTS].isdisjoint(roles)
    if not (administers or is_own):
        return None
    part = None
    if is_own and (as_learner or not administers):
        own_rows = LearnerContentAssignment.objects.select_related("budget__customer", "content")
        assignment: LearnerContentAssignment = (
            own_rows.defer("content__payload").annotate(in_catalog=derived.in_catalog()).get(pk=pk)
        )
    else:
        (assignment,) = listing.with_timelines([pk], now=now, with_join_by=False)
        part = _of_administrator(assignment, roles, message, number=number, now=now)
    return AssignmentPage(
        assignment,
        deadline=deadline_text(assignment) if assignment.state == State.ALLOCATED else None,
        of_administrator=part,
        invitation=None if part else invitation(assignment, message=message or "", now=now),
        is_own=is_own,
    )


def _of_administrator(
    assignment: LearnerContentAssignment,
    roles: frozenset[Role],
    message: str | None,
    *,
    number: str,
    now: datetime,
) -> AdministratorPart:
    actions = list(assignment.actions.all())
    at_and_pk = sorted(((timeline_entries.happened_at(one), one.pk) for one in actions), reverse=True)
    pages = Paginator([pk for _at, pk in at_and_pk], timeline_entries.PAGE).get_page(number)
    available = remedies.available(assignment, roles=roles, now=now)
    rows = content_comparison.content_rows(assignment)
    starts_at = content_display.starts_of([assignment], now=now)[assignment.pk]
    corrected_at = [one.created for one in actions if one.action_type == ActionType.EMAIL_CORRECTED]
    due = [one.due_at for one in actions if one.due_at and one.due_at < now + FOLLOWED]
    reader = EntryReader(
        _repairable(assignment, available),
        available.correct,
        operates=Role.OPERATOR in roles,
        may_retry=available.retry,
        corrected_at=max(corrected_at, default=None),
    )
    return AdministratorPart(
        chip=chips.chip(assignment, now=now),
        remedies=available,
        life=life_steps.steps_of(assignment, now=now),
        entries=timeline_entries.entries(list(pages.object_list), of=assignment, reader=reader, now=now),
        pages=pages,
        content=rows,
        content_differs=any(row.changed for row in rows),
        of_course=content_comparison.is_course(assignment),
        in_catalog=assignment.content is None or getattr(assignment, "in_catalog", True),
        starts_at=starts_at,
        of_another_run=starts_at not in (None, content_display.start(assignment)),
        message=message,
        links_ended_by_correction=assignment.links_revoked_at in corrected_at,
        under_way=bool(due),
        followed=any(one > now - FOLLOWED for one in due),
    )


def _repairable(assignment: LearnerContentAssignment, available: AvailableRemedies) -> frozenset[int]:
    """Return the failed actions (pks) that can be retried or skipped, which excludes redemptions."""
    if not available.repair or not assignment.current_failure():
        return frozenset()
    failed = failures.to_repair().filter(assignment=assignment.pk).exclude(action_type=ActionType.REDEEMED)
    return frozenset(failed.order_by().values_list("pk", flat=True))


def permitted(uuid: UUID, *, actor: User, permission: Permission) -> LearnerContentAssignment:
    """Return the assignment, if `actor` has the permission for it, with its budget. Raises Http404."""
    may = granted(actor, permission, customer="budget__customer")
    rows = LearnerContentAssignment.objects.select_related("budget__customer", "content")
    assignment = rows.defer("content__payload").filter(may, uuid=uuid).first()
    if assignment is None:
        raise Http404(NOT_FOUND)
    return assignment


def action_of(assignment: LearnerContentAssignment, action_uuid: UUID) -> LearnerContentAssignmentAction:
    """Return an action of the assignment. Raises Http404."""
    rows = assignment.actions.defer("payload", "traceback", "attempt_log")
    action = rows.filter(uuid=action_uuid).first()
    if action is None:
        raise Http404(NOT_FOUND)
    action.assignment = assignment
    return action
