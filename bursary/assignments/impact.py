"""The open assignments that changes of content affect, and the effect on each: old and new.

Computed on request from the replica's `ContentChange`, and not stored. Starting from content and runs as they
are now, each change is undone, newest first, to get the state before it. A change affects assignments that
were allocated before it, if it changed their deadline, dates, price or availability. A change of a run also
affects assignments of its course.
"""

import enum
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial, reduce
from itertools import chain
from operator import or_
from uuid import UUID

from django.db.models import Q, QuerySet

from bursary.assignments import dates, offers
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.offers import Offer
from bursary.lib.moments import FAR_FUTURE
from bursary.replica.joining import NotJoinable, RunTerms
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata

MAX_CHANGES = 50
"""Only the newest changes are reported: a flapping catalog must not make the query boundless."""


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
    """Whether the content is in the budget's catalog and can be joined."""


EFFECTS = {
    "start_date": Effect.START,
    "end_date": Effect.END,
    "price_cents": Effect.PRICE,
    "active": Effect.AVAILABILITY,
    "membership": Effect.AVAILABILITY,
    "gone_at": Effect.AVAILABILITY,
}
"""The effect of a changed field on assignments of the content itself, whatever their other dates are."""
DATES = ("start_date", "end_date", "enroll_start", "enroll_by", "gone_at")
FIELDS = (*EFFECTS, "enroll_start", "enroll_by", "offered", "enrollable")

Interval = tuple[datetime | None, datetime]
"""Deadlines without content (see `dates`): after the first instant, if there is one, up to the second."""


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """The effect of one change on one assignment. The reasons are those of a deadline."""

    change: ContentChange
    effect: Effect
    old: object
    new: object
    old_reason: str = ""
    new_reason: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    """One change, and what a catalog offered of a piece of assigned content before and after it."""

    change: ContentChange
    content: int
    catalog_uuid: UUID
    before: Offer
    after: Offer

    @property
    def direct(self) -> Effect | None:
        return EFFECTS.get(self.change.field) if self.change.content_id == self.content else None

    def effects_on(self, assignment: LearnerContentAssignment) -> Iterator[ChangeEffect]:
        """Yield the effects on an assignment of this content, allocated before the change."""
        change = self.change
        if self.direct is Effect.AVAILABILITY:
            gone = change.field == "gone_at"
            before, after = (value is None if gone else bool(value) for value in (change.old, change.new))
            yield ChangeEffect(change, self.direct, before, after)
            return
        if self.direct:
            yield ChangeEffect(change, self.direct, change.old, change.new)
        deadline = partial(
            dates.deadline,
            assignment.budget,
            allocated_at=assignment.allocated_at,
            due_date=assignment.due_date,
            extended_until=assignment.extended_until,
        )
        must_open_before, _reason = deadline(join_by=None)
        (old, old_reason), (new, new_reason) = (
            deadline(join_by=join_by) for join_by in self._join_by(must_open_before)
        )
        if old != new:
            yield ChangeEffect(change, Effect.DEADLINE, old, new, old_reason, new_reason)
        was, is_ = self._joinable(must_open_before)
        if was != is_:
            yield ChangeEffect(change, Effect.AVAILABILITY, was, is_)

    def intervals(self) -> tuple[Interval, ...]:
        """Return in which intervals the deadline without content of an affected assignment lies.

        An assignment can join the runs that open before its deadline without content. For all deadlines
        between two instants at which runs open, these are the same runs.
        """
        if self.direct:
            return ((None, FAR_FUTURE),)
        runs = (*self.before.runs, *self.after.runs)
        found: list[Interval] = []
        lower: datetime | None = None
        for upper in [*sorted({run.enroll_start for run in runs if run.enroll_start}), FAR_FUTURE]:
            old, new = self._join_by(upper)
            was, is_ = self._joinable(upper)
            # A deadline that is before both dates to join by is decided by neither.
            after = lower if was != is_ else min(old, new)
            if lower is not None and after is not None:
                after = max(lower, after)
            if (was != is_ or old != new) and (after is None or after < upper):
                if found and found[-1][1] == after:  # it continues the interval before
                    after = found.pop()[0]
                found.append((after, upper))
            lower = upper
        return tuple(found)

    def _join_by(self, must_open_before: datetime) -> tuple[datetime, datetime]:
        """Return until when the content could be joined before the change, and after it."""
        before, after = (
            offer.join_by(now=self.change.created, must_open_before=must_open_before)
            for offer in (self.before, self.after)
        )
        return before, after

    def _joinable(self, must_open_before: datetime) -> tuple[bool, bool]:
        """Return whether the content could be joined before the change, and after it."""
        before, after = (self._can_be_joined(offer, must_open_before) for offer in (self.before, self.after))
        return before, after

    def _can_be_joined(self, offer: Offer, must_open_before: datetime) -> bool:
        try:
            offer.terms(now=self.change.created, must_open_before=must_open_before)
        except NotJoinable:
            return False
        return offer.in_catalog


@dataclass(frozen=True)
class Impact:
    """The changes of a piece of content, newest first, and the open assignments that they affect."""

    changes: Sequence[ContentChange]
    more_changes: bool
    """There are older ones since then, which are not reported."""
    assignments: QuerySet[LearnerContentAssignment] = field(repr=False)
    """In the order of their keys."""
    steps: Mapping[tuple[int | None, UUID], Sequence[_Step]] = field(repr=False)
    """By content and catalog, newest first."""

    def effects_on(self, assignment: LearnerContentAssignment) -> list[ChangeEffect]:
        """Return the effects of the changes on one of the assignments, newest first."""
        steps = self.steps.get((assignment.content_id, assignment.budget.catalog_uuid), ())
        return [
            effect
            for step in steps
            if assignment.allocated_at <= step.change.created
            for effect in step.effects_on(assignment)
        ]


def of_content(content: ContentMetadata, *, among: QuerySet[ContentChange], since: datetime) -> Impact:
    """Return the impact of these changes, as far as they are of the content or its runs. Four queries."""
    about = Q(content_key=content.content_key) | Q(parent_key=content.content_key)
    own = Q(content=content) | Q(content__parent_key=content.content_key)
    rows = among.filter(own, field__in=FIELDS, created__gte=since).select_related("content")
    newest = list(rows.defer("content__payload").order_by("-created", "-pk")[: MAX_CHANGES + 1])
    changes = newest[:MAX_CHANGES]
    open_ = LearnerContentAssignment.objects.filter(state=State.ALLOCATED)
    assigned = open_.filter(content__in=ContentMetadata.objects.filter(about)).order_by()
    groups = assigned.values_list("content", "budget__catalog_uuid").distinct()
    past = _Past(about, [(pk, catalog) for pk, catalog in groups if pk])
    steps: dict[tuple[int | None, UUID], list[_Step]] = defaultdict(list)
    for change in changes:
        for step in past.undo(change):
            steps[step.content, step.catalog_uuid].append(step)
    # Catalogs in which a change has affected the same intervals share a condition.
    catalogs_of: dict[tuple[int, datetime, Interval], list[UUID]] = defaultdict(list)
    for step in chain.from_iterable(steps.values()):
        for interval in step.intervals():
            catalogs_of[step.content, step.change.created, interval].append(step.catalog_uuid)
    # True of the assignments for which `_Step.effects_on` yields an effect.
    by_each = (
        Q(content=pk, budget__catalog_uuid__in=catalogs, allocated_at__lte=created) & _ends_in(*interval)
        for (pk, created, interval), catalogs in catalogs_of.items()
    )
    by_any = reduce(or_, by_each, Q(pk__in=[]))
    affected = open_.filter(by_any).order_by("pk").select_related("budget", "content")
    return Impact(changes, len(newest) > MAX_CHANGES, affected.defer("content__payload"), steps)


class _Past:
    """Content and its runs, first as they are now, and earlier with each change that is undone."""

    def __init__(self, about: Q, assigned: Sequence[tuple[int, UUID]]) -> None:
        rows = ContentMetadata.objects.filter(about).defer("payload").order_by("content_key", "variant")
        self._rows = {row.pk: row for row in rows}
        self._assigned = assigned
        members = CatalogMembership.objects.filter(
            content__in=self._rows, catalog_uuid__in={catalog for _pk, catalog in assigned}
        )
        self._held = set(members.order_by().values_list("content", "catalog_uuid"))

    def undo(self, change: ContentChange) -> list[_Step]:
        """Undo a change; return its steps: its effect in each catalog that it concerns."""
        concerned = [one for one in self._assigned if self._concerns(change, *one)]
        self._put(change, change.new)
        after = [self._offer(*one) for one in concerned]
        self._put(change, change.old)
        before = [self._offer(*one) for one in concerned]
        if change.catalog_uuid and change.field != "membership":
            # That catalog took another row of the content, which differs. The row itself did not change.
            self._put(change, change.new)
        return [
            _Step(change, pk, catalog, *offers_)
            for (pk, catalog), *offers_ in zip(concerned, before, after, strict=True)
        ]

    def _concerns(self, change: ContentChange, pk: int, catalog: UUID) -> bool:
        of_content = change.content_id == pk
        # A course is joined by its runs' dates and offers. Its start, price and availability are its own.
        of_run = change.field not in ("start_date", "price_cents", "active", "gone_at")
        parent = change.content.parent_key
        of_catalog = change.catalog_uuid in (None, catalog)
        # A row that the catalog did not hold at that time changed for other catalogs only.
        of_catalog &= change.field in ("membership", "gone_at") or (pk, catalog) in self._held
        return of_catalog and (of_content or (of_run and parent == self._rows[pk].content_key))

    def _put(self, change: ContentChange, value: object) -> None:
        if change.field == "membership" and change.catalog_uuid:
            entry = (change.content_id, change.catalog_uuid)
            self._held = self._held | {entry} if value else self._held - {entry}
        elif row := self._rows.get(change.content_id):
            moment = change.field in DATES and isinstance(value, str)
            setattr(row, change.field, datetime.fromisoformat(str(value)) if moment else value)

    def _offer(self, pk: int, catalog: UUID) -> Offer:
        content = self._rows[pk]
        runs = [
            RunTerms.of(row)
            for row in self._rows.values()
            if row.parent_key == content.content_key and (row.pk, catalog) in self._held
        ]
        in_catalog = (pk, catalog) in self._held and content.gone_at is None
        return offers.of_row(copy(content), runs=runs, in_catalog=in_catalog)


def _ends_in(after: datetime | None, until: datetime) -> Q:
    """Return the condition that an assignment's deadline without content lies in this interval."""
    found = Q()
    if after is not None:
        by_budget = Q(budget__ends_at=None) | Q(budget__ends_at__gt=after)
        by_due_date = Q(due_date=None) | Q(due_date__gt=after)
        unextended = Q(extended_until=None) & by_due_date & Q(age_ends_at__gt=after)
        found &= by_budget & (Q(extended_until__gt=after) | unextended)
    if until < FAR_FUTURE:
        unextended = Q(extended_until=None) & (Q(due_date__lte=until) | Q(age_ends_at__lte=until))
        found &= Q(budget__ends_at__lte=until) | Q(extended_until__lte=until) | unextended
    return found
