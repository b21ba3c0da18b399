"""Writes which rows a catalog holds, while its content is locked.

A catalog holds one row of a key. A course has one row, a variant, for each set of restricted runs that it is
served with. The membership of content that a catalog lists itself is ended by `removal.py`; that of a run
that only a course's record names, as soon as the record no longer names it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Case, F, QuerySet, When

from bursary.catalog.records import Completeness, Content, ContentType
from bursary.lib import inserts
from bursary.lib.prepared import Parameter, PreparedUpdate
from bursary.replica import merge
from bursary.replica.merge import FetchContext, Merge, MergeDecision, StoredContent
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata

ROWS_PER_STATEMENT = 2000
"""More than a batch has."""


@dataclass
class Memberships:
    """The changes of a batch to a catalog's memberships; the first four are pks of rows."""

    runs_added: set[int] = field(default_factory=set)
    """Runs that the catalog did not hold, of courses that it did: they may move the courses' deadlines."""
    rejoined: set[int] = field(default_factory=set)
    """Held again, after it had ended."""
    ended: set[int] = field(default_factory=set)
    """Runs that are no longer named."""
    gone: set[int] = field(default_factory=set)
    """Rows that no catalog holds any more."""
    no_longer_gone: dict[int, datetime] = field(default_factory=dict)
    """Rows that no catalog held, and this one does: since when they were gone."""
    repointed: list[tuple[UUID, int, int]] = field(default_factory=list)
    """Catalog, the row that it held, and the row that it holds now: it is served other restricted runs."""
    differences: list[tuple[int, str, object, object]] = field(default_factory=list)
    """How the rows of `repointed` differ: pk of the new row, field, old and new value."""


class _Held(NamedTuple):
    """A record of what the catalog holds, and the course that names it; "" where the catalog lists it."""

    merge: Merge
    via_course: str


def named_keys(records: Mapping[str, Content], *, context: FetchContext) -> set[str]:
    """Return the keys of the runs that full records of these courses named to the catalog so far."""
    courses = [key for key, content in records.items() if _is_full_course(content)]
    if not courses:
        return set()
    # A run's own `parent_key` says less: another catalog may have it from a course by another key.
    rows = CatalogMembership.objects.filter(catalog_uuid=context.catalog_uuid, via_course__in=courses)
    return set(rows.order_by().values_list("content__content_key", flat=True))


def runs_in_no_course(
    records: Mapping[str, Content], rows: Mapping[tuple[str, str], StoredContent], *, record_keys: Set[str]
) -> set[str]:
    """Return the keys of runs that came from a course's record, and that no course names any more.

    They are among the `record_keys`: the catalog now returns only a summary record of each.
    """
    cut = {
        key: row.parent_key
        for key in record_keys & records.keys()
        if records[key].content_type is ContentType.COURSERUN
        and records[key].completeness is Completeness.THIN
        and (row := rows.get((key, "")))
        and row.completeness == Completeness.FULL
    }
    if not cut:
        return set()
    courses = ContentMetadata.objects.filter(
        content_key__in=set(cut.values()), completeness=Completeness.FULL, gone_at=None
    )
    shown = courses.order_by().values_list("payload__course_runs", flat=True)
    listed = (run for runs in shown if isinstance(runs, list) for run in runs if isinstance(run, dict))
    return cut.keys() - {run.get("key") for run in listed}


def write(
    merges: Sequence[Merge],
    *,
    rows: Mapping[tuple[str, str], StoredContent],
    record_keys: Collection[str],
    context: FetchContext,
) -> Memberships:
    """Write the catalog's memberships with their links, and end those of runs that its courses no longer
    name.

    `rows` are locked.
    """
    done = Memberships()
    keys = {row.pk: row.content_key for row in rows.values()}
    members = CatalogMembership.objects.filter(catalog_uuid=context.catalog_uuid, content__in=keys)
    known = {keys[one.content_id]: one for one in members.order_by("pk")}
    naming = {
        one.content.content_key for one in merges if _names_runs(one, known.get(one.row.content_key), context)
    }
    held = [
        one
        for one in _held(merges, record_keys=record_keys, naming=naming)
        if not _known_later(known.get(one.merge.row.content_key), context)
    ]
    _repoint(held, known=known, rows=rows, done=done, context=context)
    _upsert(held, known=known, context=context)
    note_seen([one.merge.row.pk for one in held if one.merge.row.content_key in known], context=context)
    _end_unnamed(held, known=known, naming=naming, done=done, context=context)
    _note_new(held, known=known, rows=rows.values(), done=done, context=context)
    unheld = {one.row.pk for one in merges if one.decision is MergeDecision.CREATED}
    unheld -= {one.merge.row.pk for one in held}
    rows_held = {one.merge.row.pk: one.merge.row.gone_at for one in held}
    done.no_longer_gone = {pk: gone_at for pk, gone_at in rows_held.items() if gone_at is not None}
    ContentMetadata.objects.filter(pk__in=done.no_longer_gone).update(gone_at=None)
    done.gone = mark_gone(
        done.ended | unheld | {old for _catalog, old, _new in done.repointed}, context=context
    )
    return done


def note_seen(contents: Collection[int], *, context: FetchContext) -> None:
    """Write that the catalog returned this content, unless a later fetch has written otherwise."""
    if contents:
        _note_seen.run(catalog=context.catalog_uuid, contents=contents, now=context.now)


@PreparedUpdate
def _note_seen() -> tuple[QuerySet[CatalogMembership], dict[str, object]]:
    field = CatalogMembership._meta.get_field
    catalog, now = Parameter("catalog", field("catalog_uuid")), Parameter("now", field("seen_at"))
    contents = Parameter("contents", ContentMetadata._meta.pk)
    seen = CatalogMembership.objects.filter(catalog_uuid=catalog, content__in=contents, seen_at__lt=now)
    missed_later = When(missing_since__gt=now, then=F("missing_since"))
    return seen, {"seen_at": now, "missing_since": Case(missed_later, default=None)}


def mark_gone(pks: Collection[int], *, context: FetchContext) -> set[int]:
    """Mark those of these locked rows that no catalog holds any more, and return them. The rows stay."""
    if not pks:
        return set()
    others = CatalogMembership.objects.filter(content__in=pks)
    orphaned = set(pks) - set(others.order_by().values_list("content", flat=True))
    gone = ContentMetadata.objects.filter(pk__in=orphaned, gone_at=None)
    found = set(gone.order_by().values_list("pk", flat=True))
    ContentMetadata.objects.filter(pk__in=found).update(gone_at=context.now)
    return found


def _is_full_course(content: Content) -> bool:
    return content.content_type is ContentType.COURSE and content.completeness is Completeness.FULL


def _known_later(before: CatalogMembership | None, context: FetchContext) -> bool:
    return before is not None and context.now < before.seen_at


def _names_runs(one: Merge, before: CatalogMembership | None, context: FetchContext) -> bool:
    """Return whether the record decides which runs of the course the catalog holds: it is its newest."""
    own_older = (
        one.decision is MergeDecision.REFUSED_OLDER
        and before is not None
        and one.row.fetched_from == context.fetched_from
    )
    usable = _is_full_course(one.content) and one.decision is not MergeDecision.REFUSED_TYPE
    return usable and not own_older and not _known_later(before, context)


def _held(
    merges: Iterable[Merge], *, record_keys: Collection[str], naming: Collection[str]
) -> Iterator[_Held]:
    for one in merges:
        if one.decision is MergeDecision.REFUSED_TYPE:
            continue
        course = one.content.parent_key or ""
        if one.content.content_key in record_keys or not one.is_run:
            yield _Held(one, "")
        elif course in naming:
            yield _Held(one, course)


def _repoint(
    held: Iterable[_Held],
    *,
    known: Mapping[str, CatalogMembership],
    rows: Mapping[tuple[str, str], StoredContent],
    done: Memberships,
    context: FetchContext,
) -> None:
    """Point the catalog's memberships to the rows with the restricted runs that it is served now."""
    by_pk = {row.pk: row for row in rows.values()}
    memberships = []
    for one in (each.merge for each in held):
        membership = known.get(one.row.content_key)
        if membership is None or membership.content_id == one.row.pk:
            continue
        _note_repointed(one, by_pk[membership.content_id], done=done, context=context)
        membership.content_id = one.row.pk
        memberships.append(membership)
    if not memberships:
        return
    others = CatalogMembership.objects.filter(
        catalog_uuid=context.catalog_uuid, content__in=[one.content_id for one in memberships]
    )
    others.delete()  # two fetches that overlapped have each inserted a variant
    CatalogMembership.objects.bulk_update(memberships, ["content"])


def _note_repointed(one: Merge, before: StoredContent, *, done: Memberships, context: FetchContext) -> None:
    after = one.row.columns if one.is_refused else merge.column_values(one.content)
    changes = merge.differences(before.columns, after)
    done.differences += [(one.row.pk, name, old, new) for name, (old, new) in changes.items()]
    done.repointed.append((context.catalog_uuid, before.pk, one.row.pk))


def _upsert(held: Iterable[_Held], *, known: Mapping[str, CatalogMembership], context: FetchContext) -> None:
    rows = []
    for one in held:
        content, before = one.merge.content, known.get(one.merge.row.content_key)
        links, via_course = (before.links, before.via_course) if before else ({}, one.via_course)
        row = CatalogMembership(
            catalog_uuid=context.catalog_uuid,
            content_id=one.merge.row.pk,
            created=context.now,
            seen_at=context.now,
            links=(links or content.links) if one.merge.is_refused else (content.links or links),
            via_course=one.via_course if via_course else "",  # once listed by the catalog itself, it stays so
        )
        if not before or (row.links, row.via_course) != (links, via_course):
            rows.append(row)
    inserts.insert_all(
        rows, size=ROWS_PER_STATEMENT, unique=("catalog_uuid", "content"), update=("links", "via_course")
    )


def _end_unnamed(
    held: Iterable[_Held],
    *,
    known: Mapping[str, CatalogMembership],
    naming: Collection[str],
    done: Memberships,
    context: FetchContext,
) -> None:
    """End the memberships of runs that the newest records of their courses no longer name."""
    named = {one.merge.row.content_key for one in held}
    unnamed = [
        one
        for key, one in known.items()
        if one.via_course in naming and key not in named and one.seen_at <= context.now
    ]
    if unnamed:
        CatalogMembership.objects.filter(pk__in=[one.pk for one in unnamed]).delete()
        done.ended = {one.content_id for one in unnamed}


def _note_new(
    held: Iterable[_Held],
    *,
    known: Mapping[str, CatalogMembership],
    rows: Iterable[StoredContent],
    done: Memberships,
    context: FetchContext,
) -> None:
    """Note content that the catalog did not hold before: new, or returned, by the same row or another."""
    new = {one.merge.row.content_key: one.merge for one in held if one.merge.row.content_key not in known}
    created = {one.row.pk for one in new.values() if one.decision is MergeDecision.CREATED}
    there = {row.pk: row for row in rows if row.content_key in new and row.pk not in created}
    if there:
        courses = CatalogMembership.objects.filter(
            catalog_uuid=context.catalog_uuid,
            content__content_key__in={one.parent_key for one in new.values() if one.row.pk in there},
        )
        held_before = set(courses.order_by().values_list("content__content_key", flat=True)) - new.keys()
        done.runs_added = {
            one.row.pk for one in new.values() if one.row.pk in there and one.parent_key in held_before
        }
        left_before = ContentChange.objects.filter(
            content__in=there, field="membership", old=str(context.catalog_uuid)
        )
        for pk in sorted(left_before.order_by().values_list("content", flat=True).distinct()):
            one = new[there[pk].content_key]
            if pk == one.row.pk:
                done.rejoined.add(pk)
            else:
                _note_repointed(one, there[pk], done=done, context=context)
