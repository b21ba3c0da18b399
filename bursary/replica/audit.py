"""Compares the replica with upstream, column by column, and writes nothing.

For each catalog, the audit compares which content it holds, and the values that a refresh would write:
`merge.COLUMNS`, the digest, the set of restricted runs, and the parent. Records that a merge would refuse as
older are compared as well: the audit reports that two values differ, not which of them is right.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q, QuerySet

from bursary.catalog import parser
from bursary.catalog.records import CatalogUnavailable, Completeness, Content, ContentType
from bursary.catalog.source import CatalogSource
from bursary.lib import batches
from bursary.lib.batches import ProgressCallback, chunks
from bursary.lib.clock import Clock
from bursary.replica import merge, reads
from bursary.replica.ingest import BATCH
from bursary.replica.models import CatalogMembership

WINDOW = 10 * BATCH
"""Rows sorted by catalog at a time, so that requests name as many keys as possible."""
NAMED = 500
"""Findings that an audit names; it counts all of them."""

_COMPARED = (*merge.COLUMNS, "digest", "content_type", "variant")


class Finding(enum.StrEnum):
    """How a row and upstream's record differ."""

    DRIFTED = "drifted"
    """A column has another value upstream."""
    MISSING = "missing"
    """The replica has it in this catalog, which has no record of it when asked by key."""
    UNLISTED = "unlisted"
    """A run that the replica has in this catalog, and that the catalog's record of the course leaves out."""
    UNKNOWN = "unknown"
    """The catalog has a record, and the replica does not have it in this catalog."""
    UNPARSABLE = "unparsable"
    """Upstream's record cannot be used, so it is compared with nothing."""


DRIFT = (Finding.DRIFTED, Finding.MISSING)
"""The findings that count as drift: readers are served something wrong."""


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field's value in the replica and upstream, as JSON values."""

    field: str
    ours: object
    theirs: object


@dataclass(frozen=True, slots=True)
class ContentFinding:
    """A finding about a key. `checked_at` is when upstream last agreed with the row, if there is one."""

    finding: Finding
    content_key: str
    catalog_uuid: UUID
    checked_at: datetime | None = None
    differences: tuple[FieldDifference, ...] = ()
    detail: str = ""


@dataclass
class ContentAudit:
    """The result of an audit."""

    looked_at: int = 0
    """Rows that were compared, once for each catalog, and those that a catalog has no record of."""
    thin: int = 0
    """Full rows for which upstream serves only a summary record at present; they are not compared."""
    counts: Counter[Finding] = field(default_factory=Counter)
    found: list[ContentFinding] = field(default_factory=list)
    """The first `NAMED` findings."""
    unavailable: dict[UUID, str] = field(default_factory=dict)
    """Catalogs that did not answer, and why."""
    _seen: set[tuple[Finding, str, UUID]] = field(default_factory=set, repr=False)

    def add(self, found: ContentFinding) -> None:
        """Count a finding about a catalog's content once, and name it while there is room."""
        same = (found.finding, found.content_key, found.catalog_uuid)
        if found.content_key and same in self._seen:
            return
        self._seen.add(same)
        self.counts[found.finding] += 1
        if len(self.found) < NAMED:
            self.found.append(found)

    @property
    def drifted_percent(self) -> float:
        """Return the share of what was compared that is drifted or missing, in percent."""
        drifted = sum(self.counts[finding] for finding in DRIFT)
        return 100 * drifted / self.looked_at if self.looked_at else 0.0


def subjects(catalog_uuid: UUID | None = None) -> QuerySet[CatalogMembership]:
    """Return the memberships to compare, of one catalog if given. Runs are compared with their courses."""
    rows = CatalogMembership.objects.filter(via_course="", content__gone_at=None)
    return rows.filter(catalog_uuid=catalog_uuid) if catalog_uuid else rows


def audit(
    *,
    source: CatalogSource,
    clock: Clock,
    catalog_uuid: UUID | None = None,
    sample: int | None = None,
    listed: Sequence[UUID] = (),
    on_progress: ProgressCallback = lambda _done: None,
) -> ContentAudit:
    """Compare the content that catalogs hold, all of it or a random `sample`, with their records.

    Each catalog, or `catalog_uuid` alone, is asked for its content, at most `BATCH` keys at a time. For the
    catalogs in `listed`, the listings are read as well, and the records of keys that the replica lacks: all,
    or the first `sample`. A catalog that does not answer is reported and not asked again. `on_progress` is
    called with the number of `subjects` that are done.
    """
    audited, done = ContentAudit(), 0
    rows = subjects(catalog_uuid)
    pks = _one_catalog_after_the_other(rows) if sample is None else batches.sample(rows, size=sample)
    for window in chunks(pks, WINDOW):
        for catalog, keys in _keys_by_catalog(window):
            try:
                for batch in chunks(keys, BATCH) if catalog not in audited.unavailable else ():
                    _compare(batch, audited, source=source, catalog_uuid=catalog, clock=clock)
            except CatalogUnavailable as error:
                audited.unavailable[catalog] = str(error)
        done += len(window)
        on_progress(done)
    for catalog in listed:
        try:
            if catalog not in audited.unavailable:
                _find_unknown(audited, source=source, catalog_uuid=catalog, limit=sample)
        except CatalogUnavailable as error:
            audited.unavailable[catalog] = str(error)
    return audited


def _one_catalog_after_the_other(rows: QuerySet[CatalogMembership]) -> Iterator[int]:
    """Yield primary keys catalog by catalog. In key order, a window would ask many catalogs for few keys."""
    for catalog in rows.order_by("catalog_uuid").values_list("catalog_uuid", flat=True).distinct():
        yield from batches.primary_keys(rows.filter(catalog_uuid=catalog))


def _keys_by_catalog(memberships: Sequence[int]) -> Iterator[tuple[UUID, list[str]]]:
    """Yield catalogs with the keys to ask each for."""
    rows = CatalogMembership.objects.filter(pk__in=memberships).order_by("content__content_key")
    found: dict[UUID, list[str]] = defaultdict(list)
    for catalog, key in rows.values_list("catalog_uuid", "content__content_key"):
        found[catalog].append(key)
    yield from sorted(found.items())


def _compare(
    keys: Sequence[str],
    audited: ContentAudit,
    *,
    source: CatalogSource,
    catalog_uuid: UUID,
    clock: Clock,
) -> None:
    """Compare the records for some keys with their rows. Raises CatalogUnavailable."""
    asked_at = clock()
    answer = source.fetch(catalog_uuid, keys=keys, timeout=settings.CONTENT_FETCH_DEADLINE)
    records, unusable = parser.parse_all(answer)
    chosen, _lost = merge.choose_records(records)
    # Rows are read after the answer: one that was refreshed meanwhile is newer, and is not compared. One that
    # was checked in the future was written by a wrong clock, and is compared.
    about = Q(content_key__in={*keys, *chosen}) | Q(parent_key__in=keys)
    columns = ("content_key", "parent_key", "checked_at", "gone_at", *_COMPARED)
    found = reads.held_by(catalog_uuid).filter(about).order_by("content_key", "variant")
    rows = {row["content_key"]: row for row in found.values(*columns)}
    read_at = clock()
    for key in sorted(chosen.keys() - rows.keys()):
        audited.add(ContentFinding(Finding.UNKNOWN, key, catalog_uuid))
    compared = {key: row for key, row in rows.items() if not asked_at < row["checked_at"] <= read_at}
    for bad in unusable:
        if bad.content_key not in chosen:
            checked_at = compared.get(bad.content_key, {}).get("checked_at")
            audited.add(
                ContentFinding(Finding.UNPARSABLE, bad.content_key, catalog_uuid, checked_at, detail=str(bad))
            )
    named = {key for raw in answer for key in parser.content_keys(raw)}
    for key, row in compared.items():
        if key in chosen or key not in named:  # the other records are there and cannot be used
            _compare_row(row, chosen, audited, asked=keys, catalog_uuid=catalog_uuid)


def _compare_row(
    row: Mapping[str, Any],
    chosen: Mapping[str, Content],
    audited: ContentAudit,
    *,
    asked: Collection[str],
    catalog_uuid: UUID,
) -> None:
    about = (row["content_key"], catalog_uuid, row["checked_at"])
    content, course = chosen.get(row["content_key"]), chosen.get(row["parent_key"])
    if content is None and row["parent_key"] and (course or row["content_key"] not in asked):
        # Without a full record of its course, nothing is known of a run.
        if course and course.completeness is Completeness.FULL:
            audited.add(ContentFinding(Finding.UNLISTED, *about))
        return
    audited.looked_at += 1
    if content is None:
        audited.add(ContentFinding(Finding.MISSING, *about))
    elif (content.completeness.value, row["completeness"]) == (Completeness.THIN, Completeness.FULL):
        audited.thin += 1
    elif differences := _differences(row, content):
        audited.add(ContentFinding(Finding.DRIFTED, *about, differences))


def _differences(row: Mapping[str, Any], content: Content) -> tuple[FieldDifference, ...]:
    fetched = merge.column_values(content) | {
        "digest": content.digest,
        "content_type": content.content_type.value,
        "variant": content.variant,
    }
    pairs = {name: (row[name], fetched[name]) for name in _COMPARED}
    if content.content_type is ContentType.COURSERUN and content.parent_key:
        pairs["parent"] = (row["parent_key"], content.parent_key)
    if row["gone_at"]:
        pairs["gone_at"] = (row["gone_at"], None)
    return tuple(
        FieldDifference(name, merge.plain(stored), merge.plain(upstream))
        for name, (stored, upstream) in pairs.items()
        if stored != upstream
    )


def _find_unknown(
    audited: ContentAudit, *, source: CatalogSource, catalog_uuid: UUID, limit: int | None
) -> None:
    """Add what a catalog lists and the replica does not have in it. Raises CatalogUnavailable."""

    def held(keys: Collection[str]) -> set[str]:
        rows = reads.held_by(catalog_uuid).filter(content_key__in=keys)
        return set(rows.values_list("content_key", flat=True))

    unknown = 0
    for page in source.pages(catalog_uuid, size=BATCH, skip=held):
        records = {parser.own_key(raw): raw for raw in page}
        for key in sorted(records.keys() - held(records)):
            try:
                parser.parse(records[key])
            except parser.UnusableRecord as bad:
                audited.add(ContentFinding(Finding.UNPARSABLE, key, catalog_uuid, detail=str(bad)))
            else:
                audited.add(ContentFinding(Finding.UNKNOWN, key, catalog_uuid))
            unknown += 1
        if limit is not None and unknown >= limit:
            return
