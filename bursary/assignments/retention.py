"""Retention of the timeline: stored mails and attempt logs are cleared after a while, the rest is kept.

Actions are processed by the hour of their completion, oldest first. A run continues where the last one ended,
so that it never reads actions that were cleared long ago.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q

from bursary.assignments.choices import MAILS, UNFINISHED, WORK, ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.lib.batches import chunks

WINDOW = timedelta(hours=1)
ROWS_PER_STATEMENT = 500
FINISHED = [status for status in Status if status not in UNFINISHED]

Remove = Callable[[Iterable[UUID]], int]
"""Removes the mails' files of actions; returns their number."""


@dataclass(frozen=True)
class Cleared:
    """What a run cleared, and the instant up to which every completed action is cleared."""

    actions: int
    through: datetime | None


def clear_mails(*, before: datetime, after: datetime | None, limit: int, remove: Remove) -> Cleared:
    """Clear the mails, as they were sent, of actions completed before an instant, and remove their files.

    `after` is the `through` of the run before. Ends after the hour in which `limit` actions are reached.
    """
    return _clear(MAILS, before=before, after=after, limit=limit, also=remove, payload={})


def clear_attempts(*, before: datetime, after: datetime | None, limit: int) -> Cleared:
    """Clear attempt logs and stack traces, as `clear_mails` does. The error code and its detail stay."""
    cleared: dict[str, object] = {"attempt_log": [], "traceback": ""}
    return _clear(WORK, before=before, after=after, limit=limit, also=lambda _uuids: 0, **cleared)


def of_assigned_content() -> Q:
    """Return the changes of assigned content and of its runs: an assignment's page shows what it was."""
    assigned = LearnerContentAssignment.objects.order_by()
    course = assigned.filter(content__content_key=OuterRef("content__parent_key"))
    return Q(Exists(assigned.filter(content=OuterRef("content")))) | Q(Exists(course))


def _clear(
    types: Collection[ActionType],
    *,
    before: datetime,
    after: datetime | None,
    limit: int,
    also: Remove,
    **columns: object,
) -> Cleared:
    cleared, through = 0, after
    while cleared < limit and (start := _first_completed(through)) is not None and start < before:
        through = min(start + WINDOW, before)
        completed = LearnerContentAssignmentAction.objects.filter(
            action_type__in=types, status__in=FINISHED, completed_at__gte=start, completed_at__lt=through
        )
        found = completed.order_by("pk").values_list("pk", "uuid")
        for rows in chunks(found, ROWS_PER_STATEMENT):
            also([uuid for _pk, uuid in rows])
            LearnerContentAssignmentAction.objects.filter(pk__in=[pk for pk, _uuid in rows]).update(**columns)
            cleared += len(rows)
    return Cleared(cleared, through)


def _first_completed(after: datetime | None) -> datetime | None:
    """Return when the first action from `after` on was completed; asks the index once for each status."""
    since = {"completed_at__gte": after} if after else {"completed_at__isnull": False}
    found = [
        LearnerContentAssignmentAction.objects.filter(status=status, **since)
        .order_by("completed_at")
        .values_list("completed_at", flat=True)
        .first()
        for status in FINISHED
    ]
    return min((at for at in found if at is not None), default=None)
