"""The open assignments that changes of content affect, and the effect on each: old and new.

Computed from the replica's `ContentChange` on request; nothing of it is stored. A change affects an
assignment that was allocated before it, if it moved its deadline, its dates, its price or its availability.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Q, QuerySet

from bursary.assignments import deadlines
from bursary.assignments.choices import State
from bursary.assignments.models import FAR_FUTURE, LearnerContentAssignment
from bursary.replica.models import ContentChange, ContentMetadata

MOST_CHANGES = 50
"""Only the newest changes are reported: a flapping catalog must not make the query boundless."""
FIELDS = ("enroll_by", "start_date", "end_date", "price_cents", "active", "membership", "gone_at")


class Effect(enum.StrEnum):
    """The aspect of an assignment that a change affects."""

    DEADLINE = "deadline"
    """When it ends, and by which of the four dates."""
    START = "start"
    """When the content starts."""
    END = "end"
    """When the content ends."""
    PRICE = "price"
    """The catalog's price; the assignment keeps its own."""
    AVAILABILITY = "availability"
    """Whether the content is in the budget's catalog and open for enrolment."""


EFFECTS = {
    "enroll_by": Effect.DEADLINE,
    "start_date": Effect.START,
    "end_date": Effect.END,
    "price_cents": Effect.PRICE,
    "active": Effect.AVAILABILITY,
    "membership": Effect.AVAILABILITY,
    "gone_at": Effect.AVAILABILITY,
}


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """The effect of one change on one assignment. The reasons are those of a deadline."""

    change: ContentChange
    effect: Effect
    old: object
    new: object
    old_reason: str = ""
    new_reason: str = ""


@dataclass(frozen=True)
class Impact:
    """The changes of a piece of content, newest first, and the open assignments that they affect."""

    changes: Sequence[ContentChange]
    more_changes: bool
    """There are older ones since then, which are not reported."""
    assignments: QuerySet[LearnerContentAssignment] = field(repr=False)
    """In the order of their keys."""

    def effects_on(self, assignment: LearnerContentAssignment) -> list[ChangeEffect]:
        """Return the effects of the changes on one of the assignments, newest first."""
        effects = [_effect(change, assignment) for change in self.changes if _concerns(change, assignment)]
        return [effect for effect in effects if effect is not None]


def of_content(content: ContentMetadata, *, among: QuerySet[ContentChange], since: datetime) -> Impact:
    """Return the impact of these changes, as far as they are of the content or its runs. One query."""
    own = Q(content=content) | Q(content__parent_key=content.content_key)
    rows = among.filter(own, field__in=FIELDS, created__gte=since)
    newest = list(
        rows.select_related("content")
        .defer("content__payload")
        .order_by("-created", "-pk")[: MOST_CHANGES + 1]
    )
    changes = newest[:MOST_CHANGES]
    by_any = reduce(or_, map(_where, changes), Q(pk__in=[]))
    affected = LearnerContentAssignment.objects.filter(by_any, state=State.ALLOCATED).order_by("pk")
    affected = affected.select_related("budget", "content").defer("content__payload")
    return Impact(changes, len(newest) > MOST_CHANGES, affected)


def _where(change: ContentChange) -> Q:
    """Return the condition that a change affects an assignment: `_concerns` and `_effect` as SQL."""
    concerned = Q(allocated_at__lte=change.created, content=change.content_id)
    if change.catalog_uuid:
        concerned &= Q(budget__catalog_uuid=change.catalog_uuid)
    if change.field == "enroll_by":
        # The deadline moved where no other of the four dates came before both.
        nearer = min(_instant(change.old), _instant(change.new))
        by_budget = Q(budget__ends_at=None) | Q(budget__ends_at__gt=nearer)
        by_administrator = Q(due_date=None) | Q(due_date__gt=nearer)
        concerned &= by_budget & by_administrator & Q(age_ends_at__gt=nearer)
    return concerned


def _concerns(change: ContentChange, assignment: LearnerContentAssignment) -> bool:
    theirs = change.catalog_uuid in (None, assignment.budget.catalog_uuid)
    before = assignment.allocated_at <= change.created
    return theirs and before and change.content_id == assignment.content_id


def _effect(change: ContentChange, assignment: LearnerContentAssignment) -> ChangeEffect | None:
    effect = EFFECTS[change.field]
    match effect:
        case Effect.DEADLINE:
            (old, old_reason), (new, new_reason) = (
                deadlines.deadline(
                    assignment.budget,
                    enroll_by=_instant(value),
                    allocated_at=assignment.allocated_at,
                    due_date=assignment.due_date,
                )
                for value in (change.old, change.new)
            )
            return ChangeEffect(change, effect, old, new, old_reason, new_reason) if old != new else None
        case Effect.AVAILABILITY:
            gone = change.field == "gone_at"
            before, after = (value is None if gone else bool(value) for value in (change.old, change.new))
            return ChangeEffect(change, effect, before, after)
    return ChangeEffect(change, effect, change.old, change.new)


def _instant(value: object) -> datetime:
    """Return a date as changes keep it, FAR_FUTURE for none."""
    return datetime.fromisoformat(value) if isinstance(value, str) else FAR_FUTURE
