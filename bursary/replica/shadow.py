"""The shadow comparison of record 0023's roll-out: does our row say what upstream says?

Each answer of upstream is compared once, when it arrives: what a cache remembers may be older than our row.
Counted for each catalog, and recorded for each field. A difference stands as long as the last comparison of
its content found it: it is healed when they agree again, when neither has the content any more, and when
upstream says too little to tell. Comparing never harms whoever reads: what the database refuses is logged.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError
from django.db.models import F

from bursary.lib.retries import in_transaction
from bursary.replica import reads
from bursary.replica.models import Completeness, ContentMetadata, ShadowDifference, ShadowTally
from bursary.replica.types import CatalogKey, KnownContent, UpstreamContent

logger = logging.getLogger(__name__)

KEPT = 10_000
"""Differences that are recorded, healed ones as long as there is room; those beyond are counted."""
FIELDS = ("title", "course_type", "partners", "start_date", "end_date", "enroll_by", "price_cents")
"""What is shown of content, or decides over an allocation; with its course, and `in_catalog`."""
KEYS_PER_ROUND = 50

Differences = dict[tuple[str, str], tuple[object, object]]
"""By key and field: what upstream says, and what our row says."""


@dataclass
class _Round:
    """What comparing the answers for some keys of one catalog found."""

    keys: Collection[str]
    compared: int = 0
    fields_compared: int = 0
    incomparable: int = 0
    differences: Differences = field(default_factory=dict)


@dataclass(frozen=True)
class ShadowReport:
    """What was compared so far. `standing` differences were there when last compared, `healed` ones not."""

    since: datetime | None
    compared: int
    fields_compared: int
    incomparable: int
    standing: int
    healed: int
    unrecorded: int
    differences: list[ShadowDifference]
    """The first standing ones."""


def compare(answers: KnownContent, *, now: datetime) -> None:
    """Compare what upstream just answered with our rows, and keep what came of it. Some queries a catalog."""
    of_catalog: dict[UUID, dict[str, UpstreamContent | None]] = defaultdict(dict)
    for place, content in answers.items():
        of_catalog[place.catalog_uuid][place.content_key] = content
    for catalog_uuid, contents in sorted(of_catalog.items()):
        keys = sorted(contents)
        for start in range(0, len(keys), KEYS_PER_ROUND):
            chunk = {key: contents[key] for key in keys[start : start + KEYS_PER_ROUND]}
            try:
                _compare(catalog_uuid, chunk, now=now)
            except DatabaseError as error:  # its message may hold what was to be kept
                kind = type(error).__name__
                logger.warning("A comparison with catalog %s was not kept: %s", catalog_uuid, kind)


def report(*, most: int) -> ShadowReport:
    """Return what was compared since somebody began to count, with at most `most` differences."""
    tallies = list(ShadowTally.objects.all())
    standing = ShadowDifference.objects.filter(healed_at=None)
    return ShadowReport(
        since=min((one.since for one in tallies), default=None),
        compared=sum(one.compared for one in tallies),
        fields_compared=sum(one.fields_compared for one in tallies),
        incomparable=sum(one.incomparable for one in tallies),
        standing=standing.count(),
        healed=ShadowDifference.objects.exclude(healed_at=None).count(),
        unrecorded=sum(one.unrecorded for one in tallies),
        differences=list(standing[:most]),
    )


def standing_places(*, after: int) -> dict[int, CatalogKey]:
    """Return where the next differences stand, by pk, a question's worth of them."""
    standing = ShadowDifference.objects.filter(healed_at=None, pk__gt=after).order_by("pk")
    rows = standing.values_list("pk", "catalog_uuid", "content_key")[:KEYS_PER_ROUND]
    return {pk: CatalogKey(catalog_uuid, key) for pk, catalog_uuid, key in rows}


def reset() -> None:
    """Forget every comparison, and count anew."""

    def forget() -> None:
        ShadowDifference.objects.all().delete()
        ShadowTally.objects.all().delete()

    in_transaction(forget)


def _compare(catalog_uuid: UUID, contents: Mapping[str, UpstreamContent | None], *, now: datetime) -> None:
    rows = {
        row.content_key: row
        for row in ContentMetadata.objects.filter(content_key__in=list(contents))
        .select_related("parent")
        .defer("payload", "parent__payload")
        .annotate(in_catalog=reads.membership(catalog_uuid))
    }
    found = _Round(keys=contents.keys())
    for key, content in contents.items():
        row = rows.get(key)
        if row is None and content is None:
            continue  # a key that nobody knows: that it is nowhere says nothing of the replica
        if row and _says_less(content, row):
            found.incomparable += 1
            continue
        pairs = _fields(content, row)
        found.compared += 1
        found.fields_compared += len(pairs)
        found.differences |= {(key, name): pair for name, pair in pairs.items() if pair[0] != pair[1]}
    in_transaction(lambda: _keep(catalog_uuid, found, now=now))


def _says_less(content: UpstreamContent | None, row: ContentMetadata) -> bool:
    """Tell whether upstream says nothing of what our row keeps on purpose.

    That is a full record while upstream serves a thin one; and a run that is over, for which upstream
    answers nothing.
    """
    if content is None:
        return row.parent is not None
    return (content.completeness, row.completeness) == (Completeness.THIN, Completeness.FULL)


def _fields(content: UpstreamContent | None, row: ContentMetadata | None) -> dict[str, tuple[object, object]]:
    """Return what upstream and our row say of each field; of content that one of them lacks, just that."""
    held = row is not None and bool(getattr(row, "in_catalog", False))
    pairs: dict[str, tuple[object, object]] = {"in_catalog": (content is not None, held)}
    if content is not None and row is not None:
        pairs |= {name: (getattr(content, name), getattr(row, name)) for name in FIELDS}
        pairs["parent"] = (content.parent_content_key, row.parent.content_key if row.parent else "")
    return pairs


def _keep(catalog_uuid: UUID, found: _Round, *, now: datetime) -> None:
    differences = found.differences
    rows = ShadowDifference.objects.filter(catalog_uuid=catalog_uuid, content_key__in=found.keys)
    known = {(row.content_key, row.field): row for row in rows.order_by("pk")}
    for where, row in known.items():
        if where in differences:
            row.upstream_value, row.replica_value = differences[where]
            row.last_seen, row.times, row.healed_at = now, row.times + 1, None
        elif row.healed_at is None:
            row.healed_at = now
    ShadowDifference.objects.bulk_update(
        known.values(), ["upstream_value", "replica_value", "last_seen", "times", "healed_at"]
    )
    new = [(where, values) for where, values in differences.items() if where not in known]
    room = _room_for(len(new)) if new else 0
    ShadowDifference.objects.bulk_create(
        [
            ShadowDifference(
                catalog_uuid=catalog_uuid,
                content_key=key,
                field=name,
                upstream_value=theirs,
                replica_value=ours,
                first_seen=now,
                last_seen=now,
            )
            for (key, name), (theirs, ours) in new[:room]
        ],
        ignore_conflicts=True,
    )
    if found.compared or found.incomparable:
        _count(catalog_uuid, found, unrecorded=len(new[room:]), now=now)


def _room_for(wanted: int) -> int:
    """Return how many more differences can be kept. Those that healed longest ago make room."""
    room = max(0, KEPT - ShadowDifference.objects.count())
    if room < wanted:
        healed = ShadowDifference.objects.filter(healed_at__isnull=False).order_by("healed_at", "pk")
        pks = list(healed.values_list("pk", flat=True)[: wanted - room])
        room += ShadowDifference.objects.filter(pk__in=pks).delete()[0]
    return room


def _count(catalog_uuid: UUID, found: _Round, *, unrecorded: int, now: datetime) -> None:
    tally = ShadowTally(catalog_uuid=catalog_uuid, since=now, last_at=now)
    ShadowTally.objects.bulk_create([tally], ignore_conflicts=True)
    ShadowTally.objects.filter(catalog_uuid=catalog_uuid).update(
        last_at=now,
        compared=F("compared") + found.compared,
        fields_compared=F("fields_compared") + found.fields_compared,
        different=F("different") + len(found.differences),
        incomparable=F("incomparable") + found.incomparable,
        unrecorded=F("unrecorded") + unrecorded,
    )
