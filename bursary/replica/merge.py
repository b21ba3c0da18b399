"""The guard: what a fetched record may do to the row that we hold. It decides; `refresh.py` alone writes."""

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bursary.catalog.parser import Completeness, Content, ContentType
from bursary.replica import freshness
from bursary.replica.models import RefreshSource

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
)
COLUMNS = (*_AS_PARSED, "partners", "partner_names", "completeness")
"""The typed columns that a record decides. A run's `parent` is decided apart: it waits for its course."""

_WITHOUT_STORY = {"uuid", "partner_names"}  # the one identifies, the other repeats `partners`
_ALWAYS_OLDER = datetime.min.replace(tzinfo=UTC)


class MergeDecision(enum.Enum):
    """What becomes of a fetched record."""

    CREATED = enum.auto()
    """We did not have it."""
    CHANGED = enum.auto()
    """It says something else than our row, and is newer."""
    UNCHANGED = enum.auto()
    """It says what our row says."""
    REPEATED = enum.auto()
    """Our row is as another catalog has it; this one differs, and says what it said before: no news."""
    REFUSED_OLDER = enum.auto()
    """Our row comes from a newer record."""
    REFUSED_THIN = enum.auto()
    """Our row comes from a full record and this one knows less."""
    REFUSED_TYPE = enum.auto()
    """Its key belongs to content of another type."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """What the guard must know of a row."""

    pk: int
    content_type: str
    parent_key: str | None
    digest: str
    completeness: str
    fetched_from: str
    fetched_at: datetime
    upstream_modified: datetime | None
    checked_at: datetime
    gone_at: datetime | None
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FetchContext:
    """One look upstream: at which catalog, when, and why. `fetched_from` names upstream and catalog."""

    catalog_uuid: UUID
    fetched_from: str
    now: datetime
    by: RefreshSource


@dataclass(frozen=True, slots=True)
class Merge:
    """A record, the row that it meets, and what follows."""

    content: Content
    row: StoredContent
    verdict: MergeDecision
    changes: Mapping[str, tuple[object, object]]
    """Old and new of every field that has a story, as JSON values; a parent is its content key.

    Of a record that is refused, whatever it says, only that content which was gone is there again.
    """
    parent_key: str | None
    """Where the row belongs from now on."""

    @property
    def agreed(self) -> bool:
        """Whether our row says what the record says, now or already before, or said it once."""
        return self.verdict in (
            MergeDecision.CREATED,
            MergeDecision.CHANGED,
            MergeDecision.UNCHANGED,
            MergeDecision.REPEATED,
        )

    @property
    def rewrites_payload(self) -> bool:
        return self.verdict is MergeDecision.CHANGED and self.row.digest != self.content.digest


def choose_records(records: Iterable[Content]) -> tuple[dict[str, Content], list[tuple[str, MergeDecision]]]:
    """Cut runs out of their courses and keep one record a key; return those, and the others' keys and why.

    Content that is no run wins over a run; then full over thin, a run nested in its course over a run
    record, and the newest `upstream_modified`.
    """
    kept: dict[str, tuple[tuple[object, ...], Content]] = {}
    lost: list[Content] = []
    for record in records:
        for content in (record, *record.runs):
            rank = _rank(content, nested=content is not record)
            rival = kept.get(content.content_key)
            if rival is None or rank > rival[0]:
                kept[content.content_key] = (rank, content)
                lost.extend([rival[1]] if rival else [])
            else:
                lost.append(content)
    chosen = {key: content for key, (_rank_, content) in kept.items()}
    return chosen, [(loser.content_key, _why_lost(loser, chosen[loser.content_key])) for loser in lost]


def decide(
    content: Content,
    row: StoredContent,
    *,
    look: FetchContext,
    courses: Collection[str],
    inserted: bool,
    repeated: bool = False,
) -> Merge:
    """Decide about a record and the row of its key.

    `courses` are the keys of the courses that we have; `inserted`: this look tried to insert the row;
    `repeated`: this catalog served the same record when it was last asked.
    """
    # A parent once known is never forgotten: run records come without it, or before their course.
    parent_key = content.parent_key if content.parent_key in courses else row.parent_key
    verdict = _refusal(content, row, look=look)
    if verdict is None and inserted and (row.fetched_at, row.fetched_from) == (look.now, look.fetched_from):
        verdict = MergeDecision.CREATED
    if verdict is None and repeated and _is_another_catalogs(row, content, look=look):
        verdict = MergeDecision.REPEATED
    back = (
        {}
        if row.gone_at is None or verdict is MergeDecision.REFUSED_TYPE
        else {"gone_at": (row.gone_at, None)}
    )
    if verdict is not None:
        return Merge(content, row, verdict, _story(back), parent_key)
    new = columns(content)
    different = {name: (row.columns[name], new[name]) for name in COLUMNS if row.columns[name] != new[name]}
    if parent_key != row.parent_key:
        different["parent"] = (row.parent_key, parent_key)
    different |= back
    verdict = MergeDecision.CHANGED if different or content.digest != row.digest else MergeDecision.UNCHANGED
    return Merge(content, row, verdict, _story(different), parent_key)


def columns(content: Content) -> dict[str, Any]:
    """Return the values of `COLUMNS` for a record."""
    return {
        **{name: getattr(content, name) for name in _AS_PARSED},
        "partners": [partner.model_dump(mode="json") for partner in content.partners],
        "partner_names": ", ".join(partner.name for partner in content.partners if partner.name),
        "completeness": content.completeness.value,
    }


def _refusal(content: Content, row: StoredContent, *, look: FetchContext) -> MergeDecision | None:
    if content.content_type.value != row.content_type:
        return MergeDecision.REFUSED_TYPE
    if content.completeness.value != row.completeness:
        # Whatever their times: a run's own record is thin, and is stamped apart from its course's.
        return MergeDecision.REFUSED_THIN if content.completeness is Completeness.THIN else None
    return MergeDecision.REFUSED_OLDER if _is_older(content, row, look=look) else None


def _is_another_catalogs(row: StoredContent, content: Content, *, look: FetchContext) -> bool:
    """Catalogs may differ in a run that is for one of them alone. Whoever is read last must not always win:
    each reading would write anew what the one before wrote."""
    return (
        row.fetched_from != look.fetched_from
        and row.digest != content.digest
        and row.completeness == content.completeness.value
        and row.gone_at is None
    )


def _is_older(content: Content, row: StoredContent, *, look: FetchContext) -> bool:
    """Compare upstream's own instants where they are comparable: of one catalog of one upstream, and past.

    Otherwise, and where they are equal, the later look wins; but none is later by more than a look takes.
    """
    theirs, ours = content.upstream_modified, row.upstream_modified
    if look.fetched_from == row.fetched_from and theirs and ours and theirs != ours <= look.now >= theirs:
        return theirs < ours
    return look.now < row.checked_at <= look.now + freshness.AHEAD


def _rank(content: Content, *, nested: bool) -> tuple[object, ...]:
    return (
        content.content_type is not ContentType.COURSERUN,
        content.completeness is Completeness.FULL,
        nested,
        content.upstream_modified or _ALWAYS_OLDER,
    )


def _why_lost(loser: Content, winner: Content) -> MergeDecision:
    if loser.content_type is not winner.content_type:
        return MergeDecision.REFUSED_TYPE
    if loser.completeness is Completeness.THIN and winner.completeness is Completeness.FULL:
        return MergeDecision.REFUSED_THIN
    return MergeDecision.REFUSED_OLDER


def _story(different: Mapping[str, tuple[object, object]]) -> dict[str, tuple[object, object]]:
    return {
        name: (_json(old), _json(new)) for name, (old, new) in different.items() if name not in _WITHOUT_STORY
    }


def _json(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value
