"""The shadow comparison of a roll-out (decision 0009): each answer of upstream with the row of its catalog.

An answer is compared once, when it arrives: a cached answer may be older than the row. Comparisons are
counted by catalog, and differences recorded by field. A difference stands as long as the last comparison of
its content found it. It is healed when both agree, when neither has the content any more, or when upstream's
record has too little to compare.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import Error
from django.db.models import F, Min, Sum

from bursary.lib.batches import chunks, keyset_pages
from bursary.lib.clock import Clock
from bursary.lib.inserts import insert_missing
from bursary.lib.retries import in_transaction
from bursary.replica import upstream_cache
from bursary.replica.models import (
    Completeness,
    ContentMetadata,
    ShadowDifference,
    ShadowTally,
    in_catalog,
)
from bursary.replica.types import CatalogKey, KnownContent, UpstreamContent

logger = logging.getLogger(__name__)

KEPT = 10_000
"""The most recorded differences. Healed ones make room for new ones; further differences are only counted."""
FIELDS = ("title", "course_type", "partners", "start_date", "end_date", "enroll_by", "price_cents")
"""The fields that are shown, or decide an allocation; compared as well: the course, and `in_catalog`."""
KEYS_PER_ROUND = 50
_REPORTED = ("catalog_uuid", "content_key", "field", "first_seen", "last_seen", "times")

Differences = dict[tuple[str, str], tuple[object, object]]
"""By key and field: upstream's value and the row's."""


@dataclass(frozen=True)
class ShadowReport:
    """The comparisons since the last reset. `standing` differences have not healed."""

    since: datetime | None
    compared: int
    fields_compared: int
    incomparable: int
    standing: int
    healed: int
    unrecorded: int
    differences: list[dict[str, Any]]
    """The first unhealed ones, with the `upstream` and the `replica` value of each."""


@dataclass
class _Comparison:
    """The result of comparing some answers of one catalog."""

    compared: int = 0
    fields_compared: int = 0
    incomparable: int = 0
    differences: Differences = field(default_factory=dict)


def compare(answers: KnownContent, *, now: datetime) -> None:
    """Compare upstream's answers with the rows and record the result; a failure to record it is logged."""
    of_catalog: dict[UUID, dict[str, UpstreamContent | None]] = defaultdict(dict)
    for key, content in sorted(answers.items()):
        of_catalog[key.catalog_uuid][key.content_key] = content
    for catalog_uuid, contents in of_catalog.items():
        for batch in chunks(contents.items(), KEYS_PER_ROUND):
            try:
                _compare(catalog_uuid, dict(batch), now=now)
            except Error as error:  # its message may hold what was to be recorded
                kind = type(error).__name__
                logger.warning("Comparison not recorded: catalog=%s error=%s", catalog_uuid, kind)


def report(*, limit: int) -> ShadowReport:
    """Return the comparisons since the last reset, with at most `limit` differences."""
    counts = ("compared", "fields_compared", "incomparable", "unrecorded")
    totals = ShadowTally.objects.aggregate(Min("since"), **{name: Sum(name, default=0) for name in counts})
    unhealed = ShadowDifference.objects.filter(healed_at=None)
    return ShadowReport(
        since=totals.pop("since__min"),
        **totals,
        standing=unhealed.count(),
        healed=ShadowDifference.objects.exclude(healed_at=None).count(),
        differences=list(
            unhealed.values(*_REPORTED, upstream=F("upstream_value"), replica=F("replica_value"))[:limit]
        ),
    )


def compare_again(*, clock: Clock) -> None:
    """Compare again what differed when it was last compared, also where it is no longer read."""
    unhealed = ShadowDifference.objects.filter(healed_at=None)
    rows = unhealed.values_list("pk", "catalog_uuid", "content_key")
    for page in keyset_pages(rows, size=KEYS_PER_ROUND):
        found = {CatalogKey(catalog_uuid, key) for _pk, catalog_uuid, key in page}
        runs = ContentMetadata.objects.filter(content_key__in={key.content_key for key in found})
        courses = dict(runs.exclude(parent_key="").order_by().values_list("content_key", "parent_key"))
        keys = {key: courses.get(key.content_key, key.content_key) for key in found}
        now = clock()
        compare(upstream_cache.look_up(keys, now=now, bypass_cache=True).fetched_now, now=now)


def reset() -> None:
    """Delete all differences and counts."""

    def delete() -> None:
        ShadowDifference.objects.all().delete()
        ShadowTally.objects.all().delete()

    in_transaction(delete)


def _compare(catalog_uuid: UUID, contents: Mapping[str, UpstreamContent | None], *, now: datetime) -> None:
    held = ContentMetadata.objects.filter(in_catalog(catalog_uuid), content_key__in=list(contents))
    rows = {row.content_key: row for row in held.defer("payload")}
    result = _Comparison()
    for key, content in contents.items():
        row = rows.get(key)
        if row is None and content is None:
            continue  # that a key is nowhere says nothing of the replica
        if row and _is_incomparable(content, row):
            result.incomparable += 1
            continue
        pairs: dict[str, tuple[object, object]] = {"in_catalog": (content is not None, row is not None)}
        if content is not None and row is not None:
            pairs |= {name: (getattr(content, name), getattr(row, name)) for name in FIELDS}
            pairs["parent"] = (content.parent_content_key, row.parent_key)
        result.compared += 1
        result.fields_compared += len(pairs)
        result.differences |= {(key, name): pair for name, pair in pairs.items() if pair[0] != pair[1]}
    in_transaction(lambda: _record(catalog_uuid, list(contents), result, now=now))


def _is_incomparable(content: UpstreamContent | None, row: ContentMetadata) -> bool:
    """Return whether upstream leaves out what the row keeps on purpose.

    A full row stays while upstream serves a summary record, and so does the row of a run that has ended,
    which upstream no longer finds by its key.
    """
    if content is None:
        return bool(row.parent_key)
    return (content.completeness, row.completeness) == (Completeness.THIN, Completeness.FULL)


def _record(catalog_uuid: UUID, keys: list[str], result: _Comparison, *, now: datetime) -> None:
    differences = result.differences
    rows = ShadowDifference.objects.filter(catalog_uuid=catalog_uuid, content_key__in=keys)
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
    new = [
        ShadowDifference(
            catalog_uuid=catalog_uuid,
            content_key=key,
            field=name,
            upstream_value=upstream,
            replica_value=replica,
            first_seen=now,
            last_seen=now,
        )
        for (key, name), (upstream, replica) in differences.items()
        if (key, name) not in known
    ]
    room = _make_room(len(new)) if new else 0
    insert_missing(new[:room], unique=["catalog_uuid", "content_key", "field"])
    if not (result.compared or result.incomparable):
        return
    tally = ShadowTally(catalog_uuid=catalog_uuid, since=now, last_at=now)
    insert_missing([tally], unique=["catalog_uuid"])
    ShadowTally.objects.filter(catalog_uuid=catalog_uuid).update(
        last_at=now,
        compared=F("compared") + result.compared,
        fields_compared=F("fields_compared") + result.fields_compared,
        different=F("different") + len(differences),
        incomparable=F("incomparable") + result.incomparable,
        unrecorded=F("unrecorded") + len(new[room:]),
    )


def _make_room(needed: int) -> int:
    """Return how many differences may be added, after deleting those that healed longest ago if need be."""
    room = max(0, KEPT - ShadowDifference.objects.count())
    if room < needed:
        healed = ShadowDifference.objects.filter(healed_at__isnull=False).order_by("healed_at", "pk")
        pks = list(healed.values_list("pk", flat=True)[: needed - room])
        room += ShadowDifference.objects.filter(pk__in=pks).delete()[0]
    return room
