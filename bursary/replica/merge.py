"""Decides what a fetched record may do to the row that the replica holds. `store.py` writes it."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from bursary.catalog.records import Completeness, Content, ContentType
from bursary.replica.models import RefreshTrigger

_AS_PARSED = (
    "uuid",
    "title",
    "course_type",
    "product_source",
    "image_url",
    "start_date",
    "end_date",
    "enroll_start",
    "enroll_by",
    "price_cents",
    "pacing",
    "weeks_to_complete",
    "advertised_run",
    "active",
    "offered",
    "enrollable",
)
COLUMNS = (*_AS_PARSED, "partners", "partner_names", "completeness")
"""The typed columns that a record decides. A run's `parent_key` is decided apart: once known, it stays."""

_NOT_RECORDED = {"uuid", "partner_names"}  # `uuid` identifies the row; `partner_names` repeats `partners`
_ALWAYS_OLDER = datetime.min.replace(tzinfo=UTC)

MAX_CLOCK_SKEW = timedelta(days=1)
"""A `checked_at` further ahead of a fetch was written by a clock that was ahead, and does not freeze the row:
no fetch takes that long."""


class MergeDecision(enum.Enum):
    """The decision about a fetched record."""

    CREATED = enum.auto()
    """The replica did not have it."""
    CHANGED = enum.auto()
    """It differs from the row, and is newer."""
    UNCHANGED = enum.auto()
    """It equals the row."""
    REFUSED_OLDER = enum.auto()
    """The row comes from a newer record."""
    REFUSED_THIN = enum.auto()
    """The row comes from a full record, and this one is a summary: a search hit, without a price."""
    REFUSED_TYPE = enum.auto()
    """Its key belongs to content of another type."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The columns of a row that the decision depends on.

    A course has a row for each `variant`: the set of restricted runs, which only some catalogs are served.
    """

    pk: int
    content_key: str
    variant: str
    content_type: str
    parent_key: str
    digest: str
    completeness: str
    fetched_from: str
    fetched_at: datetime
    upstream_modified: datetime | None
    checked_at: datetime
    gone_at: datetime | None
    columns: Mapping[str, Any]
    served_digest: str = ""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """One fetch: from which catalog, when it began, and why. `fetched_from` names upstream and catalog."""

    catalog_uuid: UUID
    fetched_from: str
    now: datetime
    trigger: RefreshTrigger
    merge_unchanged: bool = False
    """Whether unchanged records are merged, too: that repairs a row that was altered in the database."""

    @property
    def upstream(self) -> str:
        """The upstream that the catalog belongs to, as `fetched_from` names it."""
        return self.fetched_from.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Merge:
    """A record, the row of its key and variant, and the decision."""

    content: Content
    row: StoredContent
    decision: MergeDecision
    changes: Mapping[str, tuple[object, object]]
    """Old and new of each field that `ContentChange` records, as JSON values; a parent is its content key."""
    parent_key: str
    """The key of the run's course from now on; "" for none."""
    checked_later: bool
    """A fetch that began later has confirmed the row already."""
    contradicts: bool
    """Two catalogs of one upstream serve different records of one variant and one modified time."""

    @property
    def is_refused(self) -> bool:
        """Whether the record is not taken for what this catalog serves."""
        return self.decision in (
            MergeDecision.REFUSED_OLDER,
            MergeDecision.REFUSED_THIN,
            MergeDecision.REFUSED_TYPE,
        )

    @property
    def rewrites_payload(self) -> bool:
        return self.decision is MergeDecision.CHANGED and self.row.digest != self.content.digest

    @property
    def is_run(self) -> bool:
        return self.row.content_type == ContentType.COURSERUN


def choose_records(records: Iterable[Content]) -> tuple[dict[str, Content], list[tuple[str, MergeDecision]]]:
    """Cut runs out of their courses and keep one record a key; return those, and the others' keys and why.

    Content that is no run wins over a run; then full over summary, a run nested in its course over a run
    record, and the newest `upstream_modified`.
    """
    kept: dict[str, tuple[tuple[object, ...], Content]] = {}
    lost: list[Content] = []
    for record in records:
        for content in (record, *record.runs):
            rank = (
                content.content_type is not ContentType.COURSERUN,
                content.completeness is Completeness.FULL,
                content is not record,
                content.upstream_modified or _ALWAYS_OLDER,
            )
            rival = kept.get(content.content_key)
            if rival is None or rank > rival[0]:
                kept[content.content_key] = (rank, content)
                lost.extend([rival[1]] if rival else [])
            else:
                lost.append(content)
    chosen = {key: content for key, (_rank, content) in kept.items()}
    return chosen, [(loser.content_key, _why_lost(loser, chosen[loser.content_key])) for loser in lost]


def decide(
    content: Content, row: StoredContent, *, context: FetchContext, inserted: bool, is_in_no_course: bool
) -> Merge:
    """Decide about a record and the row of its key and variant.

    `inserted`: this fetch tried to insert the row. `is_in_no_course`: no course has the run any more.
    """
    parent_key = content.parent_key or row.parent_key  # once known it stays: run records may come without
    decision = _refusal(content, row, context=context, is_in_no_course=is_in_no_course)
    is_new = inserted and (row.fetched_at, row.fetched_from) == (context.now, context.fetched_from)
    if decision is None and is_new:
        decision = MergeDecision.CREATED
    changes: dict[str, tuple[Any, Any]] = {}
    if decision is None:
        new = column_values(content)
        changes = {name: (row.columns[name], new[name]) for name in COLUMNS if row.columns[name] != new[name]}
        if parent_key != row.parent_key:
            changes["parent"] = (row.parent_key or None, parent_key)
        differs = changes or content.digest != row.digest
        decision = MergeDecision.CHANGED if differs else MergeDecision.UNCHANGED
    return Merge(
        content,
        row,
        decision,
        recorded(changes),
        parent_key,
        checked_later=_checked_later(row, context=context),
        contradicts=_contradicts(content, row, context=context),
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[object, object]]:
    """Return how two rows' `COLUMNS` differ, as far as `ContentChange` records it, as JSON values."""
    return recorded({name: (before[name], after[name]) for name in COLUMNS if before[name] != after[name]})


def recorded(changes: Mapping[str, tuple[object, object]]) -> dict[str, tuple[object, object]]:
    """Return those changes that `ContentChange` records, as JSON values."""
    return {
        name: (plain(old), plain(new)) for name, (old, new) in changes.items() if name not in _NOT_RECORDED
    }


def column_values(content: Content) -> dict[str, Any]:
    """Return the values of `COLUMNS` for a record."""
    return {
        **{name: getattr(content, name) for name in _AS_PARSED},
        "partners": [partner.model_dump(mode="json") for partner in content.partners],
        "partner_names": ", ".join(partner.name for partner in content.partners if partner.name),
        "completeness": content.completeness.value,
    }


def _refusal(
    content: Content, row: StoredContent, *, context: FetchContext, is_in_no_course: bool
) -> MergeDecision | None:
    if content.content_type != row.content_type:
        return MergeDecision.REFUSED_TYPE
    if content.completeness != row.completeness:
        # Whatever their times: a run's own record is a summary, with another modified time than its course's.
        summary = content.completeness is Completeness.THIN
        if not summary or (is_in_no_course and not _checked_later(row, context=context)):
            return None
        return MergeDecision.REFUSED_THIN
    return MergeDecision.REFUSED_OLDER if _is_older(content, row, context=context) else None


def _is_older(content: Content, row: StoredContent, *, context: FetchContext) -> bool:
    """Return whether the record is older than the row, by `upstream_modified` if both are comparable.

    They are comparable if both are past, and from one catalog of one upstream: the value is the latest of the
    record's, its catalog's and its customer's, so that an edit of a catalog moves all of its records. In all
    other cases, and if they are equal, the later fetch wins.
    """
    fetched, stored, now = content.upstream_modified, row.upstream_modified, context.now
    same_catalog = context.fetched_from == row.fetched_from
    if same_catalog and fetched and stored and fetched != stored and fetched <= now >= stored:
        return fetched < stored
    return _checked_later(row, context=context)


def _checked_later(row: StoredContent, *, context: FetchContext) -> bool:
    return context.now < row.checked_at <= context.now + MAX_CLOCK_SKEW


def _contradicts(content: Content, row: StoredContent, *, context: FetchContext) -> bool:
    """Return whether another catalog is served a different record with the same modified time."""
    return (
        row.fetched_from != context.fetched_from
        and row.fetched_from.rpartition(":")[0] == context.upstream
        and content.upstream_modified is not None
        and row.upstream_modified == content.upstream_modified
        and (row.completeness, row.variant) == (content.completeness, content.variant)
        and row.digest != content.digest
    )


def _why_lost(loser: Content, winner: Content) -> MergeDecision:
    if loser.content_type is not winner.content_type:
        return MergeDecision.REFUSED_TYPE
    if loser.completeness is Completeness.THIN and winner.completeness is Completeness.FULL:
        return MergeDecision.REFUSED_THIN
    return MergeDecision.REFUSED_OLDER


def plain(value: object) -> object:
    """Return a column's value as JSON has it: an instant in ISO 8601, a uuid as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
