"""Writes a batch of records as rows, in one transaction, which the caller opens.

The number of statements does not depend on the batch's size (SQLite alone cuts long inserts into several).
Memberships are written by `membership.py`, under the locks of their content.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Case, F, QuerySet, Value, When

from bursary.catalog.records import Completeness, Content, ContentType
from bursary.lib import inserts, leases
from bursary.lib.locks import locked_in_order
from bursary.replica import membership, merge, renamed_keys, schedule
from bursary.replica.membership import ROWS_PER_STATEMENT, Memberships
from bursary.replica.merge import FetchContext, Merge, MergeDecision, StoredContent
from bursary.replica.models import (
    CatalogListing,
    ContentChange,
    ContentMetadata,
    in_catalog,
)

_WITH_PAYLOAD = ("payload", "digest", "fetched_from", "upstream_modified", "fetched_at", "changed_at")

RowKey = tuple[str, str]
"""A content key and a variant: a digest of the restricted runs that a course is served with."""


@dataclass(frozen=True)
class Written:
    """The merges of a batch, and the arguments of `content_changed` about it."""

    merges: Sequence[Merge]
    pks: Sequence[int]
    repointed: Sequence[tuple[UUID, int, int]]
    renamed: Mapping[str, str]


@dataclass(frozen=True)
class _Present:
    """The rows of a batch that exist before any lock: they show which rows to insert and which to lock."""

    rows: Collection[RowKey]
    held: Mapping[str, str]
    """The variant that the catalog holds, by key."""

    @property
    def keys(self) -> set[str]:
        return {key for key, _variant in self.rows}


def store(
    records: Mapping[str, Content],
    *,
    record_keys: Set[str],
    context: FetchContext,
    served_digests: Mapping[str, str] | None = None,
) -> Written:
    """Insert missing rows, lock all rows of the batch, and decide by what is committed then.

    `record_keys` are the keys of the records that the catalog returned; the others are runs in them.
    `served_digests` has the digests of full records, by their keys and their runs' (see `unchanged.py`).

    Two refreshers of one catalog wait for each other, and neither fails. Rows are inserted first, in the
    order of keys; one that the other refresher has inserted is skipped. Then they are locked in the same
    order, and a lock does not see uncommitted rows. So no two refreshers wait for each other in a circle.
    Raises IntegrityError, DataError and the like for a record that the database refuses.
    """
    present = _present(records, context=context)
    renamed = renamed_keys.apply(records, record_keys=record_keys, known=present.keys, context=context)
    if renamed.records is not records or renamed.keys:
        records, present = renamed.records, _present(renamed.records, context=context)
    targets = _targets(records, held=present.held)
    digests = _of_full_records(records, served_digests or {})
    inserted = _insert_missing(records, targets, present=present, digests=digests, context=context)
    keys = sorted({*records, *membership.named_keys(records, context=context)})
    rows = _read(locked_in_order(ContentMetadata.objects.filter(content_key__in=keys)))
    if refused := sorted(key for key, target in targets.items() if target not in rows):
        # SQLite leaves out rows that break a constraint where PostgreSQL says so.
        raise IntegrityError(f"left out: {', '.join(refused)}")
    decided = _decide(
        records, rows, targets=targets, record_keys=record_keys, inserted=inserted, context=context
    )
    merges = [_refused(one) if one.content.content_key in renamed.by_former_key else one for one in decided]
    _write_rows(merges, digests=digests, context=context)
    members = membership.write(merges, rows=rows, record_keys=record_keys, context=context)
    of_other_type = _decided(merges, MergeDecision.REFUSED_TYPE)
    note_listed([one.content.content_key for one in of_other_type], context=context)
    _count_contradictions(merges, context=context)
    return _record(merges, members, renamed=renamed, context=context)


def _of_full_records(records: Mapping[str, Content], served_digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of full records as served, by which `unchanged` recognises them later."""
    full = (key for key, content in records.items() if content.completeness is Completeness.FULL)
    return {key: served_digests[key] for key in full if key in served_digests}


def _refused(one: Merge) -> Merge:
    """Return the merge of a record under a former key: refused as older, so that nothing of it is written."""
    return replace(one, decision=MergeDecision.REFUSED_OLDER, changes={})


def _write_rows(merges: Sequence[Merge], *, digests: Mapping[str, str], context: FetchContext) -> None:
    """Write the changed values of existing rows, and when the others were confirmed."""
    _rewrite(_decided(merges, MergeDecision.CHANGED), digests=digests, context=context)
    _confirm(
        _decided(merges, MergeDecision.CHANGED, MergeDecision.UNCHANGED), digests=digests, context=context
    )
    thin = [one for one in _decided(merges, MergeDecision.REFUSED_THIN) if not one.checked_later]
    if thin:
        digest_is_current = When(served_digest_at=F("checked_at"), then=Value(context.now))
        ContentMetadata.objects.filter(pk__in=_pks(thin)).update(
            served_digest_at=Case(digest_is_current, default=None),
            checked_at=context.now,  # only this: a summary record has no price
        )


def preview(
    records: Mapping[str, Content], *, record_keys: Set[str], context: FetchContext
) -> dict[str, MergeDecision]:
    """Return what `store` would decide, by rows as they are now, unlocked."""
    targets = _targets(records, held=_present(records, context=context).held)
    rows = _read(ContentMetadata.objects.filter(content_key__in=list(records)))
    known = {key: content for key, content in records.items() if targets[key] in rows}
    merges = _decide(known, rows, targets=targets, record_keys=record_keys, inserted=(), context=context)
    decisions = {one.content.content_key: one.decision for one in merges}
    return dict.fromkeys(records, MergeDecision.CREATED) | decisions


def note_listed(keys: Iterable[str], *, context: FetchContext) -> None:
    """Write that the catalog returned a record for these keys, usable or not."""
    if keys := list(keys):
        rows = locked_in_order(ContentMetadata.objects.filter(content_key__in=keys))
        membership.note_seen(list(rows.values_list("pk", flat=True)), context=context)


def record_changes(
    changes: Iterable[tuple[int, str, object, object]],
    *,
    context: FetchContext,
    catalog_uuid: UUID | None = None,
) -> None:
    """Record changes of rows: pk, field, old and new value, as JSON; only for one catalog, if given.

    A change of membership always belongs to one catalog.
    """
    rows = [
        ContentChange(
            content_id=pk,
            field=field,
            old=old,
            new=new,
            catalog_uuid=context.catalog_uuid if field == "membership" else catalog_uuid,
            trigger=context.trigger,
            created=context.now,
        )
        for pk, field, old, new in changes
    ]
    inserts.insert_all(rows, size=ROWS_PER_STATEMENT)


def _present(records: Mapping[str, Content], *, context: FetchContext) -> _Present:
    courses = {content.parent_key for content in records.values() if content.parent_key}
    rows = ContentMetadata.objects.filter(content_key__in=sorted(courses | records.keys())).order_by()
    found = rows.annotate(held=in_catalog(context.catalog_uuid))
    values = list(found.values_list("content_key", "variant", "held"))
    return _Present(
        {(key, variant) for key, variant, _held in values},
        {key: variant for key, variant, held in values if held},
    )


def _targets(records: Mapping[str, Content], *, held: Mapping[str, str]) -> dict[str, RowKey]:
    """Return the row that each record belongs to.

    A summary record does not name restricted runs: it belongs to the row that the catalog holds.
    """
    return {
        key: (
            key,
            held.get(key, content.variant) if content.completeness is Completeness.THIN else content.variant,
        )
        for key, content in records.items()
    }


def _read(rows: QuerySet[ContentMetadata]) -> dict[RowKey, StoredContent]:
    names = [name for name in StoredContent.__annotations__ if name != "columns"]
    found = rows.values(*dict.fromkeys([*names, *merge.COLUMNS]))
    return {
        (row["content_key"], row["variant"]): StoredContent(
            columns={name: row[name] for name in merge.COLUMNS}, **{name: row[name] for name in names}
        )
        for row in found
    }


def _decide(
    records: Mapping[str, Content],
    rows: Mapping[RowKey, StoredContent],
    *,
    targets: Mapping[str, RowKey],
    record_keys: Set[str],
    inserted: Collection[RowKey],
    context: FetchContext,
) -> list[Merge]:
    in_no_course = membership.runs_in_no_course(records, rows, record_keys=record_keys)
    return [
        merge.decide(
            content,
            rows[targets[key]],
            context=context,
            inserted=targets[key] in inserted,
            is_in_no_course=key in in_no_course,
        )
        for key, content in records.items()
    ]


def _insert_missing(
    records: Mapping[str, Content],
    targets: Mapping[str, RowKey],
    *,
    present: _Present,
    digests: Mapping[str, str],
    context: FetchContext,
) -> set[RowKey]:
    missing = sorted(target for target in targets.values() if target not in present.rows)
    courses = present.keys | records.keys()
    rows = [
        _row(records[key], variant=variant, courses=courses, digest=digests.get(key, ""), context=context)
        for key, variant in missing
    ]
    inserts.insert_all(rows, size=ROWS_PER_STATEMENT, unique=("content_key", "variant"))
    return set(missing)


def _row(
    content: Content,
    *,
    variant: str,
    courses: Collection[str],
    digest: str,
    context: FetchContext,
    parent_key: str | None = None,
) -> ContentMetadata:
    """Return the row of a record. A run is refreshed with its course, where that is one of `courses`.

    `digest` is that of the full record as served.
    """
    fresh_until = schedule.fresh_until(content, now=context.now)
    with_course = content.content_type is ContentType.COURSERUN and content.parent_key in courses
    return ContentMetadata(
        content_key=content.content_key,
        variant=variant,
        content_type=content.content_type,
        parent_key=parent_key or content.parent_key or "",
        payload=content.payload,
        digest=content.digest,
        served_digest=digest,
        served_digest_at=context.now,
        trigger=context.trigger,
        fetched_from=context.fetched_from,
        upstream_modified=content.upstream_modified,
        fetched_at=context.now,
        checked_at=context.now,
        changed_at=context.now,
        fresh_until=fresh_until,
        due_at=None if with_course else fresh_until,
        early=None if with_course else leases.NOT_BEFORE,
        **merge.column_values(content),
    )


def _rewrite(changed: Sequence[Merge], *, digests: Mapping[str, str], context: FetchContext) -> None:
    """Write the typed columns, and the payload only where it changed.

    By an upsert, the fastest way to update many rows. All of them exist and are locked.
    """
    for with_payload in (True, False):
        rows = [
            _row(
                one.content,
                variant=one.row.variant,
                courses=(),
                digest=digests.get(one.content.content_key, ""),
                context=context,
                parent_key=one.parent_key,
            )
            for one in changed
            if one.rewrites_payload is with_payload
        ]
        inserts.insert_all(
            rows,
            size=ROWS_PER_STATEMENT,
            unique=("content_key", "variant"),
            update=("parent_key", "served_digest", *merge.COLUMNS, *(_WITH_PAYLOAD if with_payload else ())),
        )


def _confirm(confirmed: Sequence[Merge], *, digests: Mapping[str, str], context: FetchContext) -> None:
    """Confirm rows that agree with upstream. Values that a later fetch wrote are never overwritten.

    For a row that came from this catalog, `upstream_modified` advances even without a change, so that no
    older record is accepted later. A change that an event announced after the fetch began stays expected.
    """
    rewritten = [one.row.pk for one in confirmed if one.rewrites_payload]
    modified_times: dict[datetime, list[int]] = defaultdict(list)
    until: dict[datetime, list[int]] = defaultdict(list)
    served_digests: dict[str, list[int]] = defaultdict(list)
    for one in confirmed:
        digest = digests.get(one.content.content_key, "")
        if one.checked_later:
            continue
        until[schedule.fresh_until(one.content, now=context.now)].append(one.row.pk)
        if one.content.upstream_modified and one.row.fetched_from == context.fetched_from:
            modified_times[one.content.upstream_modified].append(one.row.pk)
        if one.decision is MergeDecision.UNCHANGED and one.row.served_digest != digest:
            served_digests[digest].append(one.row.pk)
    if until:
        schedule.confirm_rows(
            until,
            changed=rewritten,
            modified_times=modified_times,
            served_digests=served_digests,
            now=context.now,
            trigger=context.trigger,
        )
    if rewritten:
        shown = ContentMetadata.objects.filter(pk__in=rewritten, change_announced_at__lte=context.now)
        shown.update(change_announced_at=None)


def _count_contradictions(merges: Iterable[Merge], *, context: FetchContext) -> None:
    if found := sum(one.contradicts for one in merges):
        schedule.add_listings([context.catalog_uuid], now=context.now)
        listing = CatalogListing.objects.filter(catalog_uuid=context.catalog_uuid)
        listing.update(contradictions=F("contradictions") + found)


def _record(
    merges: Sequence[Merge], members: Memberships, *, renamed: renamed_keys.RenamedKeys, context: FetchContext
) -> Written:
    """Record the changes; return the arguments of `content_changed`."""
    catalog = str(context.catalog_uuid)
    changes = [(one.row.pk, field, old, new) for one in merges for field, (old, new) in one.changes.items()]
    changes += [(pk, "membership", None, catalog) for pk in sorted(members.rejoined)]
    changes += [(pk, "membership", catalog, None) for pk in sorted(members.ended)]
    changes += [(pk, "gone_at", gone_at.isoformat(), None) for pk, gone_at in members.no_longer_gone.items()]
    changes += [(pk, "gone_at", None, context.now.isoformat()) for pk in sorted(members.gone)]
    changes += [(pk, "content_key", old, new) for pk, (old, new) in renamed.rows.items()]
    record_changes(changes, context=context)
    record_changes(members.differences, context=context, catalog_uuid=context.catalog_uuid)
    rewritten = _decided(merges, MergeDecision.CREATED, MergeDecision.CHANGED)
    pks = {pk for pk, *_change in changes} | {new for _catalog, _old, new in members.repointed}
    pks |= members.runs_added
    # The courses that runs were part of until now may have other deadlines.
    if left := {one.row.parent_key for one in merges if "parent" in one.changes and one.row.parent_key}:
        courses = ContentMetadata.objects.filter(content_key__in=left, content_type=ContentType.COURSE)
        pks |= set(courses.order_by().values_list("pk", flat=True))
    return Written(merges, sorted(pks | _pks(rewritten)), members.repointed, renamed.keys)


def _decided(merges: Iterable[Merge], *decisions: MergeDecision) -> list[Merge]:
    return [one for one in merges if one.decision in decisions]


def _pks(merges: Iterable[Merge]) -> set[int]:
    return {one.row.pk for one in merges}
