"""Writes a batch of records as rows, in one transaction, which the caller opens.

The number of statements does not depend on the batch's size (SQLite alone cuts long inserts into several).
Memberships are written under the locks of their content.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, connection
from django.db.models import Case, F, OuterRef, QuerySet, Subquery, Value, When

from bursary.catalog.records import Content, ContentType
from bursary.lib import leases
from bursary.lib.batches import unique_fields
from bursary.lib.locks import for_update
from bursary.replica import merge, schedule
from bursary.replica.merge import FetchContext, Merge, MergeDecision, StoredContent
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata

_WITH_PAYLOAD = ("payload", "digest", "fetched_from", "upstream_modified", "fetched_at", "changed_at")


@dataclass(frozen=True)
class _Stored:
    """What the replica holds of a batch: its rows by key, and the catalog's memberships by content pk."""

    rows: Mapping[str, StoredContent]
    memberships: Mapping[int, CatalogMembership]
    courses: Collection[str]


def store(chosen: Mapping[str, Content], *, context: FetchContext) -> list[Merge]:
    """Insert what is missing, lock everything, and only then decide: by what is committed, and stays so.

    Two refreshers of one catalog wait for each other and neither fails. Inserting comes first, in the order
    of keys, and gives way to whichever was faster. A row that is not committed is invisible to a lock. So
    inserting waits for inserts of greater keys or for locks, locking waits for locks of greater keys alone,
    and no circle can close.
    Raises IntegrityError, and the database's other complaints about values, for a record it does not take.
    """
    keys = _keys(chosen)
    inserted = _insert_missing(chosen, keys, context=context)
    stored = _read(for_update(ContentMetadata.objects.filter(content_key__in=keys)), context=context)
    if refused := sorted(chosen.keys() - stored.rows.keys()):
        # SQLite leaves out rows that break a constraint where PostgreSQL says so.
        raise IntegrityError(f"left out: {', '.join(refused)}")
    merges = _decide(chosen, stored=stored, inserted=inserted, courses=stored.courses, context=context)
    _rewrite(_decided(merges, MergeDecision.CHANGED), context=context)
    _link_to_courses(_decided(merges, MergeDecision.CREATED, MergeDecision.CHANGED), stored=stored)
    _confirm(_decided(merges, MergeDecision.CHANGED, MergeDecision.UNCHANGED), context=context)
    _update(
        [one for one in _decided(merges, MergeDecision.REFUSED_THIN) if not one.checked_later],
        checked_at=context.now,  # no more: a thin record says nothing of a price
    )
    _update([one for one in merges if not one.agreed and "gone_at" in one.changes], gone_at=None)
    # The catalog that the row came from decides where two differ.
    schedule.bring_forward(_pks(_decided(merges, MergeDecision.REPEATED)), now=context.now)
    returned = _write_memberships(merges, stored=stored, context=context)
    note_listed(
        [one.content.content_key for one in _decided(merges, MergeDecision.REFUSED_TYPE)], context=context
    )
    merges = [
        replace(one, changes={**one.changes, "membership": (None, str(context.catalog_uuid))})
        if one.row.pk in returned
        else one
        for one in merges
    ]
    changes = [(one.row.pk, field, old, new) for one in merges for field, (old, new) in one.changes.items()]
    record_changes(changes, context=context)
    return merges


def preview(chosen: Mapping[str, Content], *, context: FetchContext) -> dict[str, MergeDecision]:
    """Return what `store` would decide, by rows as they are now, unlocked."""
    stored = _read(ContentMetadata.objects.filter(content_key__in=_keys(chosen)), context=context)
    new_courses = {key for key, content in chosen.items() if content.content_type is ContentType.COURSE}
    known = {key: content for key, content in chosen.items() if key in stored.rows}
    courses = {*stored.courses, *new_courses}
    merges = _decide(known, stored=stored, inserted=(), courses=courses, context=context)
    return dict.fromkeys(chosen, MergeDecision.CREATED) | {
        one.content.content_key: one.decision for one in merges
    }


def to_announce(merges: Sequence[Merge]) -> list[int]:
    """Return the pks that `content_changed` carries, in order; of content that returned, its runs as well."""
    back = {one.content.content_key for one in merges if "membership" in one.changes}
    return sorted(
        one.row.pk
        for one in merges
        if one.changes
        or one.parent_key in back
        or one.decision in (MergeDecision.CREATED, MergeDecision.CHANGED)
    )


def held(merges: Iterable[Merge]) -> list[Merge]:
    """Return what the catalog itself holds: all but runs, which are held where their course is."""
    return [one for one in merges if one.decision is not MergeDecision.REFUSED_TYPE and not one.is_run]


def quarantined(keys: Iterable[str]) -> dict[str, str]:
    """Return the digests, by key, of records that could not be used when they were last fetched."""
    rows = ContentMetadata.objects.filter(content_key__in=list(keys)).exclude(quarantined_digest="")
    return dict(rows.order_by().values_list("content_key", "quarantined_digest"))


def quarantine(errors: Mapping[str, tuple[str, str]]) -> None:
    """Write, on the rows of these keys, why upstream's newest record cannot be used, and its digest."""
    rows = ContentMetadata.objects.filter(content_key__in=errors).order_by("content_key")
    keys = dict(for_update(rows).values_list("pk", "content_key"))
    if keys:
        ContentMetadata.objects.filter(pk__in=keys).update(
            failures=F("failures") + 1,
            last_error=Case(*(When(pk=pk, then=Value(errors[key][0])) for pk, key in keys.items())),
            quarantined_digest=Case(*(When(pk=pk, then=Value(errors[key][1])) for pk, key in keys.items())),
        )


def note_listed(keys: Iterable[str], *, context: FetchContext) -> None:
    """Write that the catalog returned a record for these keys, usable or not."""
    rows = ContentMetadata.objects.filter(content_key__in=list(keys)).order_by("content_key")
    _note_seen(list(for_update(rows).values_list("pk", flat=True)), context=context)


def record_changes(changes: Iterable[tuple[int, str, object, object]], *, context: FetchContext) -> None:
    """Add to the history of rows: pk, field, old and new value, as JSON."""
    ContentChange.objects.bulk_create(
        ContentChange(content_id=pk, field=field, old=old, new=new, source=context.by, created=context.now)
        for pk, field, old, new in changes
    )


def _keys(chosen: Mapping[str, Content]) -> list[str]:
    """Return the keys that a batch is about, those of its runs' courses included, in order."""
    parents = {content.parent_key for content in chosen.values() if content.parent_key}
    return sorted(parents | chosen.keys())


def _read(rows: QuerySet[ContentMetadata], *, context: FetchContext) -> _Stored:
    parents = ContentMetadata.objects.filter(pk=OuterRef("parent")).values("content_key")[:1]
    own = [name for name in StoredContent.__annotations__ if name not in ("columns", "parent_key")]
    found = rows.order_by("content_key").annotate(parent_key=Subquery(parents))
    names = dict.fromkeys(["content_key", "parent_key", *own, *merge.COLUMNS])
    stored = {
        row["content_key"]: StoredContent(
            parent_key=row["parent_key"],
            columns={name: row[name] for name in merge.COLUMNS},
            **{name: row[name] for name in own},
        )
        for row in found.values(*names)
    }
    members = CatalogMembership.objects.filter(
        catalog_uuid=context.catalog_uuid, content__in=[row.pk for row in stored.values()]
    )
    courses = {key for key, row in stored.items() if row.content_type == ContentType.COURSE}
    return _Stored(stored, {row.content_id: row for row in members}, courses)


def _decide(
    chosen: Mapping[str, Content],
    *,
    stored: _Stored,
    inserted: Collection[str],
    courses: Collection[str],
    context: FetchContext,
) -> list[Merge]:
    served = {
        key: stored.memberships[row.pk].digest
        for key, row in stored.rows.items()
        if row.pk in stored.memberships
    }
    again = {key for key, content in chosen.items() if served.get(key) == content.digest}
    return [
        merge.decide(
            content,
            stored.rows[key],
            context=context,
            courses=courses,
            inserted=key in inserted,
            repeated=key in again or content.parent_key in again,
        )
        for key, content in chosen.items()
    ]


def _insert_missing(chosen: Mapping[str, Content], keys: Sequence[str], *, context: FetchContext) -> set[str]:
    present = ContentMetadata.objects.filter(content_key__in=keys).order_by()
    known = set(present.values_list("content_key", flat=True))
    missing = [key for key in keys if key in chosen and key not in known]
    rows = [_row(chosen[key], context=context) for key in missing]
    if connection.features.supports_update_conflicts_with_target:
        ContentMetadata.objects.bulk_create(rows, ignore_conflicts=True)
    else:
        # MySQL's INSERT IGNORE would bend values that do not fit. This writes nothing either, but complains.
        ContentMetadata.objects.bulk_create(rows, update_conflicts=True, update_fields=["content_key"])
    return set(missing)


def _row(content: Content, *, context: FetchContext) -> ContentMetadata:
    """Return the row of a record without its parent: that one's primary key may not be known yet."""
    fresh_until = schedule.fresh_until(content, now=context.now)
    is_run = content.content_type is ContentType.COURSERUN
    return ContentMetadata(
        content_key=content.content_key,
        content_type=content.content_type,
        payload=content.payload,
        digest=content.digest,
        source=context.by,
        fetched_from=context.fetched_from,
        upstream_modified=content.upstream_modified,
        fetched_at=context.now,
        checked_at=context.now,
        changed_at=context.now,
        fresh_until=fresh_until,
        due_at=None if is_run else fresh_until,
        early=None if is_run else leases.NOT_BEFORE,
        **merge.columns(content),
    )


def _rewrite(changed: Sequence[Merge], *, context: FetchContext) -> None:
    """Write the typed columns, and the payload only where it changed.

    An upsert, being the fastest way to update many rows: all of them exist, and are locked.
    """
    for with_payload in (True, False):
        rows = [_row(one.content, context=context) for one in changed if one.rewrites_payload is with_payload]
        ContentMetadata.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=unique_fields("content_key"),
            update_fields=[*merge.COLUMNS, *(_WITH_PAYLOAD if with_payload else ())],
        )


def _link_to_courses(merges: Sequence[Merge], *, stored: _Stored) -> None:
    runs_of: dict[int, list[int]] = defaultdict(list)
    for one in merges:
        if one.parent_key is not None and one.parent_key != one.row.parent_key:
            runs_of[stored.rows[one.parent_key].pk].append(one.row.pk)
    if runs_of:
        moved = [pk for runs in runs_of.values() for pk in runs]
        parent = Case(*(When(pk__in=runs, then=Value(course)) for course, runs in runs_of.items()))
        ContentMetadata.objects.filter(pk__in=moved).update(parent=parent)


def _confirm(agreed: Sequence[Merge], *, context: FetchContext) -> None:
    """Write that the rows say what upstream says. What a later fetch wrote is never set back.

    Where a row came from this catalog its version moves on, changed or not, so that no older record can come
    back. An announced change that is younger than the fetch stays announced: what moved may be another.
    """
    moved = [one.row.pk for one in agreed if one.rewrites_payload]
    versions: dict[datetime, list[int]] = defaultdict(list)
    until: dict[datetime, list[int]] = defaultdict(list)
    confirmed = [one for one in agreed if not one.checked_later]
    for one in confirmed:
        until[schedule.fresh_until(one.content, now=context.now)].append(one.row.pk)
        if one.content.upstream_modified and one.row.fetched_from == context.fetched_from:
            versions[one.content.upstream_modified].append(one.row.pk)
    if confirmed:
        schedule.confirm(until, changed=moved, now=context.now)
        newer = [When(pk__in=rows, then=Value(version)) for version, rows in versions.items()]
        _update(
            confirmed,
            source=context.by,
            upstream_modified=Case(*newer, default=F("upstream_modified")),
            checked_at=context.now,
            fresh_until=Case(*(When(pk__in=rows, then=Value(at)) for at, rows in until.items())),
            failures=0,
            last_error="",
            quarantined_digest="",
            gone_at=None,
        )
    if moved:
        shown = ContentMetadata.objects.filter(pk__in=moved, expected_since__lte=context.now)
        shown.update(expected_since=None)


def _write_memberships(merges: Sequence[Merge], *, stored: _Stored, context: FetchContext) -> set[int]:
    """Write what the catalog holds, its links and what it served; return the pks that it holds again."""
    known = stored.memberships
    members = {one.row.pk: one for one in held(merges)}
    agreed, refused = (_links(merges, stored=stored, agreed=agreed) for agreed in (True, False))
    rows: list[CatalogMembership] = []
    for pk in sorted(members.keys() | (known.keys() & (agreed.keys() | refused.keys()))):
        before = known.get(pk)
        if before and context.now < before.seen_at:
            continue
        links, digest = (before.links, before.digest) if before else ({}, "")
        row = CatalogMembership(
            catalog_uuid=context.catalog_uuid,
            content_id=pk,
            created=context.now,
            seen_at=context.now,
            links=refused.get(pk, {}) | links | agreed.get(pk, {}),
            digest=members[pk].content.digest if pk in members and members[pk].agreed else digest,
        )
        if not before or (row.links, row.digest) != (links, digest):
            rows.append(row)
    CatalogMembership.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=unique_fields("catalog_uuid", "content"),
        update_fields=["links", "digest"],
    )
    _note_seen(members.keys() & known.keys(), context=context)
    created = _pks(_decided(merges, MergeDecision.CREATED))
    joined = members.keys() - known.keys() - created
    left_before = ContentChange.objects.filter(
        content__in=joined, field="membership", old=str(context.catalog_uuid)
    )
    return set(left_before.order_by().values_list("content", flat=True).distinct()) if joined else set()


def _note_seen(contents: Collection[int], *, context: FetchContext) -> None:
    """Write that the catalog returned this content. What a later fetch found or missed stays."""
    rows = CatalogMembership.objects.filter(
        catalog_uuid=context.catalog_uuid, content__in=contents, seen_at__lt=context.now
    )
    missed_later = When(missing_since__gt=context.now, then=F("missing_since"))
    rows.update(seen_at=context.now, missing_since=Case(missed_later, default=None))


def _links(
    merges: Iterable[Merge], *, stored: _Stored, agreed: bool
) -> dict[int, dict[str, dict[str, object]]]:
    """Return the links of the accepted records, or of the others, by held pk and content key."""
    links: dict[int, dict[str, dict[str, object]]] = defaultdict(dict)
    for one in merges:
        holder = stored.rows.get(one.parent_key or "") if one.is_run else one.row
        usable = one.content.links and one.decision is not MergeDecision.REFUSED_TYPE
        if usable and holder and one.agreed is agreed:
            links[holder.pk][one.content.content_key] = one.content.links
    return links


def _update(merges: Collection[Merge], **columns: Any) -> None:
    if merges:
        ContentMetadata.objects.filter(pk__in=_pks(merges)).update(**columns)


def _decided(merges: Iterable[Merge], *decisions: MergeDecision) -> list[Merge]:
    return [one for one in merges if one.decision in decisions]


def _pks(merges: Iterable[Merge]) -> set[int]:
    return {one.row.pk for one in merges}
