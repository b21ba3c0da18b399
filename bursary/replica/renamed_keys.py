"""Courses that upstream has given another key: the uuid is the same, and the new key has no row yet.

Rows, runs, memberships and assignments get the new key, and the former key still finds the course. If a
listing named the course by both keys, it has two rows: a catalog's membership and assignments move to the new
row as soon as the catalog, asked for the former key, does not have it (`removal.py`).
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from bursary.catalog.records import Completeness, Content, ContentType
from bursary.lib.locks import locked_in_order
from bursary.replica import schedule
from bursary.replica.merge import FetchContext
from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ContentMetadata,
    FormerContentKey,
    in_catalog,
)

FORMER_KEY_SERVED_FOR = timedelta(days=2)
"""How long a catalog may still serve the former key: upstream changes its catalogs one by one."""


@dataclass(frozen=True)
class RenamedKeys:
    """A batch under current keys, and the keys that were renamed in it: old to new, and the rows."""

    records: Mapping[str, Content]
    keys: Mapping[str, str]
    rows: Mapping[int, tuple[str, str]]
    """The courses' rows, with the old and the new key."""
    by_former_key: Collection[str]
    """Current keys of courses that the catalog still serves under a former one."""


def apply(
    records: Mapping[str, Content], *, record_keys: Set[str], known: Collection[str], context: FetchContext
) -> RenamedKeys:
    """Give the rows of courses their new keys; `known` are the keys of the batch that have rows.

    Call it inside a transaction. While a catalog may still serve the former key, a record under it only shows
    that the catalog holds the course; its values count as older.
    """
    courses = {
        content.uuid: key
        for key, content in records.items()
        if content.content_type is ContentType.COURSE and content.uuid and key not in known
    }
    if not courses:
        return RenamedKeys(records, {}, {}, ())
    former = dict(
        FormerContentKey.objects.filter(former_key__in=courses.values()).values_list(
            "former_key", "content_key"
        )
    )
    rows_of = _rows_of(courses, former=former, records=records, context=context)
    still_served = _served_in_this_listing({old for old, _at in rows_of.values()}, context=context)
    by_former_key = {
        new: old
        for new, (old, at) in rows_of.items()
        if former.get(new) == old and context.now < at + FORMER_KEY_SERVED_FOR
    }
    keys = {
        old: new
        for new, (old, at) in rows_of.items()
        if new not in by_former_key and old not in still_served and at <= context.now
    }
    batch = _under_current_keys(records, by_former_key, record_keys=record_keys)
    return RenamedKeys(batch, keys, _rename(keys) if keys else {}, set(by_former_key.values()))


def successors(pks: Collection[int], *, context: FetchContext) -> dict[int, int]:
    """Return those of these courses that the catalog, not having them, serves under other keys: pk to pk."""
    held = CatalogMembership.objects.filter(
        catalog_uuid=context.catalog_uuid, content__content_type=ContentType.COURSE
    ).order_by("seen_at", "content")
    missed = held.filter(content__in=pks, content__uuid__isnull=False)
    seen = {(pk, uuid): at for pk, uuid, at in missed.values_list("content", "content__uuid", "seen_at")}
    same_uuid = held.filter(content__uuid__in={uuid for _pk, uuid in seen}, missing_since=None)
    served = {
        uuid: (pk, seen_at)
        for pk, uuid, seen_at in same_uuid.exclude(content__in=pks).values_list(
            "content", "content__uuid", "seen_at"
        )
    }
    return {
        pk: served[uuid][0] for (pk, uuid), at in seen.items() if uuid in served and served[uuid][1] >= at
    }


def remember(former_key: str, *, content_key: str) -> None:
    """Record that content was renamed: its former key, and all before, find it from now on."""
    FormerContentKey.objects.filter(former_key__in=(former_key, content_key)).delete()
    FormerContentKey.objects.filter(content_key=former_key).update(content_key=content_key)
    FormerContentKey.objects.create(former_key=former_key, content_key=content_key)


def current_keys(content_keys: Collection[str]) -> dict[str, str]:
    """Return the current key for each of these keys, current or former ones. One query."""
    rows = FormerContentKey.objects.filter(former_key__in=list(content_keys))
    return dict(zip(content_keys, content_keys, strict=True)) | dict(
        rows.order_by().values_list("former_key", "content_key")
    )


def either_key(content_keys: Collection[str]) -> set[str]:
    """Return these keys, and the current keys of content that had one of them. One query."""
    return {*content_keys, *current_keys(content_keys).values()}


def current_key(content_key: str) -> str:
    """Return the current key of content, for a current or a former one."""
    return current_keys([content_key])[content_key]


def _rows_of(
    courses: Mapping[UUID, str],
    *,
    former: Mapping[str, str],
    records: Collection[str],
    context: FetchContext,
) -> dict[str, tuple[str, datetime]]:
    """Return for each key of these courses, by uuid, the key of their rows, and when those were checked.

    A course that has two rows is the one that its former key leads to, or else that this catalog holds.
    """
    rows = ContentMetadata.objects.filter(
        uuid__in=courses, content_type=ContentType.COURSE, fetched_from__startswith=f"{context.upstream}:"
    ).exclude(content_key__in=list(records))
    found = rows.annotate(held=in_catalog(context.catalog_uuid)).values_list(
        "uuid", "content_key", "held", "gone_at", "checked_at"
    )
    ranked = sorted(
        (former.get(courses[uuid]) == key, held, gone_at is None, checked_at, key, courses[uuid])
        for uuid, key, held, gone_at, checked_at in found
        if uuid
    )
    return {new: (old, checked_at) for *_rank, checked_at, old, new in ranked}


def _served_in_this_listing(keys: Collection[str], *, context: FetchContext) -> set[str]:
    """Return those keys that the listing now being read has named as well: they are other courses."""
    listing = CatalogListing.objects.filter(
        catalog_uuid=context.catalog_uuid, begun_at__gt=context.now - schedule.RESUMABLE_FOR
    )
    began = listing.values_list("begun_at", flat=True).first() or context.now
    rows = CatalogMembership.objects.filter(
        catalog_uuid=context.catalog_uuid, content__content_key__in=keys, missing_since=None
    )
    return set(rows.filter(seen_at__gte=began).values_list("content__content_key", flat=True))


def _rename(keys: Mapping[str, str]) -> dict[int, tuple[str, str]]:
    named = CatalogMembership.objects.filter(via_course__in=keys).values("content")
    about = Q(content_key__in=keys) | Q(parent_key__in=keys) | Q(pk__in=named)
    locked = locked_in_order(ContentMetadata.objects.filter(about))
    rows = {pk: (key, keys[key]) for pk, key in locked.values_list("pk", "content_key") if key in keys}
    for old, new in keys.items():
        ContentMetadata.objects.filter(content_key=old).update(content_key=new)
        ContentMetadata.objects.filter(parent_key=old).update(parent_key=new)
        CatalogMembership.objects.filter(via_course=old).update(via_course=new)
        remember(old, content_key=new)
    return rows


def _under_current_keys(
    records: Mapping[str, Content], current: Mapping[str, str], *, record_keys: Set[str]
) -> Mapping[str, Content]:
    """Return the batch with the courses of former keys under their current ones, as summaries.

    So nothing of such a record is written but that the catalog holds the course. Of their runs only those
    remain that the catalog lists itself.
    """
    if not current:
        return records
    batch: dict[str, Content] = {}
    for key, content in records.items():
        if key in current:
            batch[current[key]] = replace(content, content_key=current[key], completeness=Completeness.THIN)
        elif not content.parent_key or content.parent_key not in current:
            batch[key] = content
        elif key in record_keys:
            batch[key] = replace(content, parent_key=current[content.parent_key])
    return batch
