"""Stores fetched records: parses them one by one, then merges and writes each batch in one short transaction.

`merge.py` decides, and `store.py` has the statements. A record that cannot be used does not stop the others.
It is quarantined: its digest is kept, and it is not tried again until upstream changes it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, Self
from uuid import UUID

from django.db import DataError, IntegrityError
from django.db.models import F
from django.dispatch import Signal

from bursary.catalog import parser
from bursary.catalog.records import Content
from bursary.lib import updates
from bursary.lib.batches import Halving
from bursary.lib.locks import locked_in_order
from bursary.lib.retries import in_transaction
from bursary.replica import merge, store, unchanged
from bursary.replica.merge import FetchContext, MergeDecision
from bursary.replica.models import CatalogMembership, ContentMetadata

content_changed = Signal()
"""Sent inside the writer's transaction, once a batch, with `pks`, the content that was created, changed, or
entered or left a catalog, and `now`. `repointed` has (catalog, old pk, new pk) for each catalog that holds
another row now: it is served a course with other restricted runs than before, or by the key of another row.
`renamed` has the new content keys by the old ones. A receiver's exception rolls the batch back."""

BATCH = 50  # records a transaction, and keys a request; some 200 rows, as courses bring their runs
MAX_NAMED = 500
"""Unusable records that a report names; it counts them all."""

_KEY_OF = {"missing": "unanswered"}
"""The key of a count in the output, where it is not the field's name."""
_REFUSED_VALUES = (DataError, IntegrityError, OverflowError, UnicodeEncodeError)


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was not stored. `reason` is stable, `detail` is for people; `key` is "" if unreadable."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """Counts of one refresh: upstream's pages and records, and the replica's rows, including runs.

    Reports can be added. Each time a record for a row is fetched, the row is counted under one decision.
    """

    pages: int = 0
    records: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused_older: int = 0
    refused_thin: int = 0
    listed: int = 0
    """Records that the catalog lists: courses, programs, pathways, and runs without their courses."""
    passed_over: int = 0
    """The number of these that were read before the listing was interrupted."""
    quarantined: int = 0
    """Records that could not be used before and are still the same: ignored."""
    missing: int = 0
    """Keys of the replica that the catalog, asked for them, did not have."""
    ended: int = 0
    """Memberships that ended."""
    postponed: int = 0
    """Rows that could not be fetched and will be tried again."""
    unparsable_total: int = 0
    unparsable: tuple[RejectedRecord, ...] = ()
    """The first `MAX_NAMED` of them."""
    alarm: str = ""
    """Why nothing was removed, where too much of a catalog was missing."""

    def __add__(self, other: Self) -> "RefreshReport":
        counts = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in ("unparsable", "alarm")
        }
        named = (*self.unparsable, *other.unparsable)[:MAX_NAMED]
        return RefreshReport(**counts, unparsable=named, alarm=self.alarm or other.alarm)

    def summary(self) -> dict[str, Any]:
        """Return the report as plain values, as commands print it and tasks store it."""
        return {_KEY_OF.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def of(cls, decisions: Iterable[tuple[str, MergeDecision]]) -> "RefreshReport":
        """Count the decisions on content keys."""
        decisions = list(decisions)
        count = Counter(decision for _key, decision in decisions)
        conflicts = [key for key, decision in decisions if decision is MergeDecision.REFUSED_TYPE]
        return cls(
            created=count[MergeDecision.CREATED],
            changed=count[MergeDecision.CHANGED],
            unchanged=count[MergeDecision.UNCHANGED],
            refused_older=count[MergeDecision.REFUSED_OLDER],
            refused_thin=count[MergeDecision.REFUSED_THIN],
        ) + cls.of_unusable(
            RejectedRecord(key, "content_type_changed", "The key belongs to content of another type.")
            for key in conflicts
        )

    @classmethod
    def of_unusable(cls, rejected: Iterable[RejectedRecord]) -> "RefreshReport":
        """Count and name rejected records."""
        named = tuple(rejected)
        return cls(unparsable_total=len(named), unparsable=named[:MAX_NAMED])


def ingest(batch: Sequence[object], *, context: FetchContext, dry_run: bool = False) -> RefreshReport:
    """Store at most `BATCH` records that a catalog returned; a dry run decides and writes nothing."""
    report = RefreshReport(records=len(batch))
    served_digests: Mapping[str, str] = {}
    if not dry_run:
        repeated, served_digests = unchanged.confirm_records(batch, context=context)
        batch = [raw for position, raw in enumerate(batch) if position not in repeated]
        report += RefreshReport(unchanged=sum(repeated.values()), listed=len(repeated))
        if not batch:
            return report
    candidates, held_back = _without_quarantined(batch, context=context)
    records, rejected = _parse(candidates, held_back=held_back)
    report += RefreshReport(quarantined=len(held_back))
    report += RefreshReport.of_unusable(one for one, _digest in rejected)
    if dry_run:
        chosen, lost = merge.choose_records(records)
        record_keys = {record.content_key for record in records}
        decisions = store.preview(chosen, record_keys=record_keys, context=context)
        listed = record_keys - {
            key for key, decision in decisions.items() if decision is MergeDecision.REFUSED_TYPE
        }
        return report + RefreshReport.of([*decisions.items(), *lost]) + RefreshReport(listed=len(listed))
    report += _store(records, served_digests=served_digests, context=context)
    usable = {record.content_key for record in records}
    _quarantine([(one, digest) for one, digest in rejected if one.key not in usable], context=context)
    if held_back:
        in_transaction(lambda: store.note_listed(held_back, context=context))
    return report


def _without_quarantined(batch: Sequence[object], *, context: FetchContext) -> tuple[list[object], list[str]]:
    """Return the records to parse, and the keys of unusable records that are unchanged."""
    keys = [parser.own_key(raw) for raw in batch]
    rows = ContentMetadata.objects.filter(
        content_key__in=list(filter(None, keys)), memberships__catalog_uuid=context.catalog_uuid
    ).exclude(quarantined_digest="")
    known = dict(rows.order_by().values_list("content_key", "quarantined_digest"))
    candidates: list[object] = []
    held_back: list[str] = []
    for raw, key in zip(batch, keys, strict=True):
        if key in known and parser.fingerprint(raw) == known[key]:
            held_back.append(key)
        else:
            candidates.append(raw)
    return candidates, held_back


def _parse(
    candidates: Sequence[object], *, held_back: Collection[str]
) -> tuple[list[Content], list[tuple[RejectedRecord, str]]]:
    """Return the usable records, and for each key of the others one error with the record's fingerprint.

    Upstream may keep serving two unusable records under one key: once one is known, neither is reported.
    """
    records: list[Content] = []
    rejected: list[tuple[RejectedRecord, str]] = []
    known = set(held_back)
    for raw in candidates:
        try:
            records.append(parser.parse(raw))
        except parser.UnusableRecord as bad:
            if bad.content_key not in known:
                one = RejectedRecord(bad.content_key, bad.reason, bad.detail)
                rejected.append((one, parser.fingerprint(raw)))
            if bad.content_key:
                known.add(bad.content_key)
    return records, rejected


class _NotStorable(Exception):
    """The database refused a value of the batch; nothing of the batch was written."""


def _store(
    records: Sequence[Content], *, served_digests: Mapping[str, str], context: FetchContext
) -> RefreshReport:
    """Store the records. If the database refuses a value, halve the batch until its record is alone."""
    report, parts = RefreshReport(), Halving(records)
    for part in parts:
        try:
            report += in_transaction(partial(_write, part, served_digests=served_digests, context=context))
        except _NotStorable as refusal:
            if not parts.halve(part):
                rejected = RejectedRecord(part[0].content_key, "not_storable", str(refusal))
                _quarantine([(rejected, part[0].digest)], context=context)
                report += RefreshReport.of_unusable([rejected])
    return report


def _write(
    records: Sequence[Content], *, served_digests: Mapping[str, str], context: FetchContext
) -> RefreshReport:
    chosen, lost = merge.choose_records(records)
    record_keys = {record.content_key for record in records}
    try:
        written = store.store(chosen, record_keys=record_keys, served_digests=served_digests, context=context)
    except _REFUSED_VALUES as error:
        raise _NotStorable(f"{type(error).__name__}: {error}".partition("\n")[0]) from error
    if written.pks:
        content_changed.send(
            sender=ContentMetadata,
            pks=written.pks,
            now=context.now,
            repointed=written.repointed,
            renamed=written.renamed,
        )
    decisions = [(one.content.content_key, one.decision) for one in written.merges]
    refused = {key for key, decision in decisions if decision is MergeDecision.REFUSED_TYPE}
    return RefreshReport.of([*decisions, *lost]) + RefreshReport(listed=len(record_keys - refused))


def _write_quarantine(errors: Mapping[str, tuple[str, str]], *, catalog_uuid: UUID) -> None:
    """Write, on the catalog's rows of these keys, why its newest record cannot be used, and its digest."""
    held = CatalogMembership.objects.filter(catalog_uuid=catalog_uuid, content__content_key__in=list(errors))
    rows = locked_in_order(ContentMetadata.objects.filter(pk__in=held.values("content")))
    keys = dict(rows.values_list("pk", "content_key"))
    if keys:
        ContentMetadata.objects.filter(pk__in=keys).update(
            failures=F("failures") + 1,
            last_error=updates.by_key({pk: errors[key][0] for pk, key in keys.items()}),
            quarantined_digest=updates.by_key({pk: errors[key][1] for pk, key in keys.items()}),
        )


def _quarantine(rejected: Sequence[tuple[RejectedRecord, str]], *, context: FetchContext) -> None:
    errors = {one.key: (f"{one.reason}: {one.detail}", digest) for one, digest in rejected if one.key}
    if errors:
        in_transaction(lambda: _write_quarantine(errors, catalog_uuid=context.catalog_uuid))
        in_transaction(lambda: store.note_listed(errors, context=context))
