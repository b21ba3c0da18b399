"""Comparing the replica with upstream, column by column. It asks and reads, and writes nothing.

What is compared is what a refresh would write (`guard.COLUMNS`, the digest, the parent), but whatever the
guard would refuse as older: an audit is there to see it.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet

from bursary.catalog import parser
from bursary.catalog.parser import Content
from bursary.catalog.source import CatalogSource, CatalogUnavailable
from bursary.lib import batches
from bursary.lib.batches import chunks
from bursary.replica import merge, reads, schedule
from bursary.replica.ingest import BATCH
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata, ContentType

WINDOW = 10 * BATCH
"""Rows that are put in order by catalog at a time, so that questions are as long as they may be."""
NAMED = 500
"""Findings that an audit names; it counts them all."""

_COMPARED = (*merge.COLUMNS, "digest", "content_type")

Clock = Callable[[], datetime]
Progress = Callable[[int], None]


class Finding(enum.StrEnum):
    """How we and upstream differ about a piece of content."""

    DRIFTED = "drifted"
    """Upstream says something else than our row."""
    MISSING = "missing"
    """We have it, and its catalog, asked for it, does not."""
    UNLISTED = "unlisted"
    """A run that its course does not list any more; it keeps its last dates."""
    UNKNOWN = "unknown"
    """Upstream has it and we do not."""
    UNPARSABLE = "unparsable"
    """Upstream's record cannot be used, so nothing can be compared."""


DRIFT = (Finding.DRIFTED, Finding.MISSING)
"""What makes the drifted share: what would be wrong of what we answer."""


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field: what we say and what upstream says, as JSON values."""

    field: str
    ours: object
    theirs: object


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. `checked_at` is when upstream was last seen to agree with our row, if we have one."""

    finding: Finding
    content_key: str
    catalog_uuid: UUID | None
    checked_at: datetime | None = None
    differences: tuple[FieldDifference, ...] = ()
    detail: str = ""


@dataclass
class ContentAudit:
    """What an audit found. `looked_at` are rows of ours that upstream was heard about, runs included."""

    looked_at: int = 0
    thin: int = 0
    """Rows that are full, and that upstream serves thin just now: not to be compared."""
    counts: Counter[Finding] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    """The first `NAMED` findings."""
    unavailable: dict[UUID, str] = field(default_factory=dict)
    """Catalogs that did not answer, and why."""
    _met: set[tuple[Finding, str]] = field(default_factory=set, repr=False)

    def add(self, one: Found) -> None:
        """Count a finding, and name it while there is room; once, however many catalogs tell of it."""
        if one.content_key:
            if (one.finding, one.content_key) in self._met:
                return
            self._met.add((one.finding, one.content_key))
        self.counts[one.finding] += 1
        if len(self.found) < NAMED:
            self.found.append(one)

    @property
    def drifted_percent(self) -> float:
        """Return how much of what was looked at is drifted or missing, in percent."""
        drifted = sum(self.counts[kind] for kind in DRIFT)
        return 100 * drifted / self.looked_at if self.looked_at else 0.0


def subjects(catalog_uuid: UUID | None = None) -> QuerySet[ContentMetadata]:
    """Return what upstream is asked for: all content, of a catalog if given, but runs of known courses."""
    rows = ContentMetadata.objects.filter(parent=None, gone_at=None)
    return rows.filter(reads.membership(catalog_uuid)) if catalog_uuid else rows


def audit(
    *,
    source: CatalogSource,
    clock: Clock,
    catalog_uuid: UUID | None = None,
    sample: int | None = None,
    listed: Sequence[UUID] = (),
    progress: Progress | None = None,
) -> ContentAudit:
    """Compare all content, or `sample` pieces at random, with upstream; runs with their courses.

    Each piece is asked of the catalog that it came from, or of `catalog_uuid`. The listings of `listed` are
    read as well, for what we do not have. A catalog that does not answer is asked no more; never raises for
    it. `progress` is told how many of `subjects` are done.
    """
    rows = subjects(catalog_uuid)
    pks = batches.keys(rows) if sample is None else batches.sample(rows, size=sample)
    audited, done = ContentAudit(), 0
    for window in _windows(pks):
        for catalog, keys in sorted(_questions(window, catalog_uuid).items()):
            for batch in chunks(sorted(keys), BATCH):
                _ask(batch, audited, source=source, catalog_uuid=catalog, clock=clock)
        done += len(window)
        if progress:
            progress(done)
    for catalog in listed:
        _read_listing(catalog, audited, source=source)
    return audited


def _windows(pks: Iterable[int]) -> Iterator[list[int]]:
    rest = iter(pks)
    while window := list(islice(rest, WINDOW)):
        yield window


def _questions(pks: Sequence[int], catalog_uuid: UUID | None) -> Mapping[UUID, list[str]]:
    """Return which keys to ask which catalog for; what came from nowhere and is held nowhere is not asked."""
    rows = list(ContentMetadata.objects.filter(pk__in=pks).values_list("pk", "content_key", "fetched_from"))
    holders: dict[int, list[UUID]] = defaultdict(list)
    held = CatalogMembership.objects.filter(content__in=pks).order_by("catalog_uuid")
    for holder, pk in held.values_list("catalog_uuid", "content"):
        holders[pk].append(holder)
    questions: dict[UUID, list[str]] = defaultdict(list)
    for pk, key, fetched_from in rows:
        whom = catalog_uuid or schedule.catalog_to_ask(fetched_from, holders[pk])
        if whom is not None:
            questions[whom].append(key)
    return questions


def _ask(
    keys: Sequence[str], audited: ContentAudit, *, source: CatalogSource, catalog_uuid: UUID, clock: Clock
) -> None:
    if catalog_uuid in audited.unavailable:
        return
    asked_at = clock()
    try:
        answer = source.fetch(
            catalog_uuid,
            keys=keys,
            within=settings.CONTENT_FETCH_DEADLINE,
        )
    except CatalogUnavailable as silence:
        audited.unavailable[catalog_uuid] = str(silence)
        return
    records, unusable = _parsed(answer)
    chosen, _lost = merge.choose_records(records)
    # Read after the answer: what a refresher brought in meanwhile is left alone, being newer than it. What
    # says that it comes from the future was written by a clock that was ahead, and is compared.
    rows, read_at = _rows(keys, chosen), clock()
    rows = {key: row for key, row in rows.items() if not asked_at < row["checked_at"] <= read_at}
    for bad in unusable:
        if bad.content_key not in chosen:
            detail = f"{bad.reason}: {bad.detail}"
            checked_at = rows.get(bad.content_key, {}).get("checked_at")
            audited.add(Found(Finding.UNPARSABLE, bad.content_key, catalog_uuid, checked_at, detail=detail))
    named = {key for raw in answer for key in parser.keys(raw)}
    known = set(ContentMetadata.objects.filter(content_key__in=chosen).values_list("content_key", flat=True))
    for key in sorted(chosen.keys() - known):
        audited.add(Found(Finding.UNKNOWN, key, catalog_uuid))
    for found in _judged(rows, chosen, named=named, audited=audited, catalog_uuid=catalog_uuid):
        audited.add(found)


def _parsed(answer: Sequence[object]) -> tuple[list[Content], list[parser.UnusableRecord]]:
    records: list[Content] = []
    unusable: list[parser.UnusableRecord] = []
    for raw in answer:
        try:
            records.append(parser.parse(raw))
        except parser.UnusableRecord as bad:
            unusable.append(bad)
    return records, unusable


def _rows(keys: Sequence[str], chosen: Mapping[str, Content]) -> dict[str, dict[str, Any]]:
    """Return our rows that a question and its answer are about: what was asked for, its runs, the answer."""
    about = Q(content_key__in={*keys, *chosen}) | Q(parent__content_key__in=keys)
    rows = ContentMetadata.objects.filter(about).annotate(parent_key=F("parent__content_key"))
    found = rows.values("content_key", "parent_key", "checked_at", "gone_at", *_COMPARED)
    return {row["content_key"]: row for row in found.order_by()}


def _judged(
    rows: Mapping[str, dict[str, Any]],
    chosen: Mapping[str, Content],
    *,
    named: set[str],
    audited: ContentAudit,
    catalog_uuid: UUID,
) -> Iterator[Found]:
    for key, row in sorted(rows.items()):
        about = (key, catalog_uuid, row["checked_at"])
        content = chosen.get(key)
        if content is None and key in named:
            continue  # it is there, and cannot be used
        if content is None and row["parent_key"] is not None:
            # Where its course is missing, unusable or thin, nothing is known of it.
            course = chosen.get(row["parent_key"])
            if course and course.completeness.value == Completeness.FULL:
                yield Found(Finding.UNLISTED, *about)
            continue
        audited.looked_at += 1
        if content is None:
            yield Found(Finding.MISSING, *about)
        elif (content.completeness.value, row["completeness"]) == (Completeness.THIN, Completeness.FULL):
            audited.thin += 1
        elif differences := _differences(row, content):
            yield Found(Finding.DRIFTED, *about, differences)


def _differences(row: Mapping[str, Any], content: Content) -> tuple[FieldDifference, ...]:
    theirs = merge.columns(content) | {"digest": content.digest, "content_type": content.content_type.value}
    pairs = {name: (row[name], theirs[name]) for name in _COMPARED}
    if content.content_type.value == ContentType.COURSERUN and content.parent_key:
        pairs["parent"] = (row["parent_key"], content.parent_key)
    if row["gone_at"]:
        pairs["gone_at"] = (row["gone_at"], None)
    return tuple(
        FieldDifference(name, _plain(ours), _plain(upstreams))
        for name, (ours, upstreams) in pairs.items()
        if ours != upstreams
    )


def _read_listing(catalog_uuid: UUID, audited: ContentAudit, *, source: CatalogSource) -> None:
    """Find what a catalog lists and we do not have."""
    if catalog_uuid in audited.unavailable:
        return
    try:
        for page in source.pages(catalog_uuid, size=BATCH):
            for batch in chunks(page, BATCH):
                _find_unknown(batch, audited, catalog_uuid=catalog_uuid)
    except CatalogUnavailable as silence:
        audited.unavailable[catalog_uuid] = str(silence)


def _find_unknown(batch: Sequence[object], audited: ContentAudit, *, catalog_uuid: UUID) -> None:
    records = {parser.own_key(raw): raw for raw in batch}
    rows = ContentMetadata.objects.filter(content_key__in=list(records))
    known = set(rows.values_list("content_key", flat=True))
    for key in sorted(records.keys() - known):
        try:
            parser.parse(records[key])
        except parser.UnusableRecord as bad:
            audited.add(Found(Finding.UNPARSABLE, key, catalog_uuid, detail=f"{bad.reason}: {bad.detail}"))
        else:
            audited.add(Found(Finding.UNKNOWN, key, catalog_uuid))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
