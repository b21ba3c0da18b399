"""Why the replica says what it says of a piece of content, and when somebody looks at it next."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Max

from bursary.catalog.origins import origins
from bursary.replica import merge, schedule
from bursary.replica.models import CatalogMembership, ColdRead, ContentChange, ContentMetadata

COLUMNS = ("content_type", "parent", *merge.COLUMNS)
MOST_NAMED = 100
"""Runs, catalogs and remembered answers that are named."""


class RefreshReason(enum.StrEnum):
    """Why somebody looks at content when they do. The first that fits holds."""

    WITH_COURSE = "with_course"
    """It is a run, and is looked at with its course."""
    WHEN_ASKED_FOR = "when_asked_for"
    """Nobody is to look until somebody reads it, stale."""
    QUARANTINED = "quarantined"
    """Upstream's newest record cannot be used: looked at as ever, and tried only when it has changed."""
    FAILED = "failed"
    """The last look failed: again after a pause that grows."""
    AWAITED = "awaited"
    """An event announced a change that upstream does not show yet."""
    GONE = "gone"
    """No catalog holds it."""
    MISSING = "missing"
    """A catalog, asked for it, did not have it: asked again to be sure."""
    WANTED = "wanted"
    """It is due: somebody wants another look, or it is not fresh any more."""
    INACTIVE = "inactive"
    """Fresh until then; nobody can enrol."""
    SOON = "soon"
    """Fresh until then; it, or one of its runs, starts or closes soon."""
    ORDINARY = "ordinary"
    """Fresh until then."""


@dataclass(frozen=True, slots=True)
class Value:
    """One column: what it says, where that was read, and its last change, if it has changed."""

    column: str
    value: object
    read_from: str
    change: ContentChange | None


@dataclass(frozen=True, slots=True)
class NextRefresh:
    """When the next look is, and why; `longest` is how long the pause after failures may be."""

    at: datetime | None
    why: RefreshReason
    good_for: timedelta | None = None
    """What the table of freshness says of it."""
    longest: timedelta | None = None


@dataclass(frozen=True)
class Explanation:
    """Everything about one row."""

    content: ContentMetadata
    values: Sequence[Value]
    look: NextRefresh
    memberships: Sequence[CatalogMembership]
    """Of a run: its course's."""
    runs: Sequence[str]
    """Their keys, the first `MOST_NAMED`."""
    other_changes: Sequence[ContentChange] = field(default=())
    """The last change of what is no column of the record: memberships, being gone."""


def explain(content_key: str, *, now: datetime) -> Explanation | None:
    """Return the story of a piece of content; None where we do not have it. Five queries."""
    content = ContentMetadata.objects.select_related("parent").filter(content_key=content_key).first()
    if content is None:
        return None
    course = content.parent
    changes = _last_changes(content)
    read_from = origins(
        content.content_type,
        content.content_key,
        content.payload,
        course=course.payload if course else None,
        advertised_run=content.advertised_run,
    )
    values = [
        Value(name, _value(content, name), read_from.get(name, ""), changes.pop(name, None))
        for name in COLUMNS
    ]
    memberships = CatalogMembership.objects.filter(content=course or content).order_by("catalog_uuid")
    held = list(memberships[:MOST_NAMED])
    runs = list(
        content.runs.order_by("content_key")[:MOST_NAMED].only("content_key", "start_date", "enroll_by")
    )
    return Explanation(
        content=content,
        values=values,
        look=_next_look(content, held, runs, now=now),
        memberships=held,
        runs=[run.content_key for run in runs],
        other_changes=list(changes.values()),
    )


def cold_reads_of(content_key: str, *, now: datetime) -> list[ColdRead]:
    """Return what is remembered of questions for a key that we have no content for."""
    rows = ColdRead.objects.filter(content_key=content_key, until__gt=now).order_by("catalog_uuid")
    return list(rows[:MOST_NAMED])


def _last_changes(content: ContentMetadata) -> dict[str, ContentChange]:
    """Return the last change of each field, by field."""
    newest = (
        content.changes.order_by().values("field").annotate(last=Max("pk")).values_list("last", flat=True)
    )
    rows = ContentChange.objects.filter(pk__in=list(newest)).order_by("field")
    return {change.field: change for change in rows}


def _value(content: ContentMetadata, column: str) -> object:
    if column == "parent":
        return content.parent.content_key if content.parent else None
    return getattr(content, column)


def _next_look(
    content: ContentMetadata,
    memberships: Sequence[CatalogMembership],
    runs: Sequence[ContentMetadata],
    *,
    now: datetime,
) -> NextRefresh:
    if content.parent is not None:
        return NextRefresh(content.parent.due_at, RefreshReason.WITH_COURSE)
    if content.due_at is None:
        return NextRefresh(None, RefreshReason.WHEN_ASKED_FOR)
    if failure := _trouble(content):
        return failure
    if content.expected_since:
        return NextRefresh(content.due_at, RefreshReason.AWAITED)
    if content.gone_at:
        return NextRefresh(content.due_at, RefreshReason.GONE, schedule.fresh_for("gone"))
    if any(one.missing_since for one in memberships):
        return NextRefresh(content.due_at, RefreshReason.MISSING)
    if content.due_at <= now:
        return NextRefresh(content.due_at, RefreshReason.WANTED)
    dates = [date for one in (content, *runs) for date in (one.start_date, one.enroll_by)]
    kind = schedule.freshness_kind(content.completeness, content.active, dates, now=content.checked_at)
    return NextRefresh(content.due_at, RefreshReason(kind), schedule.fresh_for(kind))


def _trouble(content: ContentMetadata) -> NextRefresh | None:
    if content.quarantined_digest:
        return NextRefresh(content.due_at, RefreshReason.QUARANTINED)
    if content.failures and content.due_at != content.fresh_until:
        return NextRefresh(
            content.due_at, RefreshReason.FAILED, longest=schedule.longest_retry_delay(content.failures)
        )
    return None
