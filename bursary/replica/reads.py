"""What everyone asks of the replica. Our own rows answer, fresh or stale, also while upstream is out.

Only content that we never saw is fetched while somebody waits.
"""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from bursary.catalog.payload import with_links
from bursary.catalog.values import is_key
from bursary.replica import cold_reads, refresh
from bursary.replica.models import CatalogMembership, ColdReadStatus, ContentMetadata, RefreshSource
from bursary.replica.refresh import ContentUnavailable

__all__ = [
    "ContentUnavailable",
    "UnknownContent",
    "as_of",
    "content_for",
    "courseware_url",
    "held_by",
    "membership",
    "record",
    "title_of",
]

GLANCE = 0.05  # seconds between two glances at what another is asking

_NOT_HANDED_OVER = {"upstream_error", "too_large"}


class UnknownContent(Exception):
    """Neither we nor upstream's catalog have content with this key."""

    reason = "content_not_in_catalog"

    def __init__(self, content_key: str) -> None:
        super().__init__(content_key)
        self.content_key = content_key


def content_for(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    """Return the course, run, program or pathway with this key, its payload deferred.

    What we have is served at once, with one query, whatever catalog it came from (see `membership`); if it
    is stale and nobody is to look at it, it is also marked as wanted. What we do not have is fetched from
    `catalog_uuid` within `CONTENT_READ_DEADLINE`, once however many ask, which is refused inside a
    transaction (RuntimeError). Raises UnknownContent where upstream does not have it either, or lately did
    not; and ContentUnavailable where upstream does not answer in time.
    """
    if not is_key(content_key):
        raise UnknownContent(content_key)
    content = _stored(content_key)
    if content is None:
        return _fetched(content_key, catalog_uuid=catalog_uuid, now=now)
    looked_at = content.parent or content  # a run with its course
    if looked_at.due_at is None and not looked_at.fresh(now):
        ContentMetadata.objects.filter(pk=looked_at.pk, due_at=None).update(due_at=now)
    return content


def held_by(catalog_uuid: UUID) -> QuerySet[ContentMetadata]:
    """Return all content that a catalog holds, runs with their courses."""
    return ContentMetadata.objects.filter(membership(catalog_uuid))


def membership(catalog_uuid: UUID) -> Exists:
    """Return a condition, or an annotation, on content: does the catalog hold it, or the course of a run?"""
    return Exists(
        CatalogMembership.objects.filter(
            Q(content=OuterRef("pk")) | Q(content=OuterRef("parent")), catalog_uuid=catalog_uuid
        )
    )


def courseware_url(content_key: str, *, catalog_uuid: UUID) -> str:
    """Return where upstream sends who takes the content up from this catalog; empty where it does not say.

    One query. What another catalog's record says would lead into another organisation.
    """
    holder = ContentMetadata.objects.filter(content_key=content_key).values(holder=Coalesce("parent", "pk"))
    rows = CatalogMembership.objects.filter(content=holder[:1], catalog_uuid=catalog_uuid)
    said = rows.values_list("links", flat=True).first() or {}
    for name in ("enrollment_url", "marketing_url"):
        url = said.get(content_key, {}).get(name)
        if isinstance(url, str) and url.startswith(("https://", "http://")):
            return url
    return ""


def record(content: ContentMetadata, *, catalogs: Iterable[UUID] | QuerySet[Any, UUID]) -> dict[str, object]:
    """Return upstream's record as it serves it to the one of these catalogs that holds the content.

    Where several of them do, or none, it is without links: they are a catalog's own. One query.
    """
    held = CatalogMembership.objects.filter(
        content=content.parent_id or content.pk, catalog_uuid__in=catalogs
    )
    said = list(held.order_by().values_list("links", flat=True)[:2])
    return with_links(content.payload, content.content_key, said[0] if len(said) == 1 else {})


def title_of(content_key: str) -> str:
    """Return the title that our row has; empty where there is none. Asks nobody."""
    rows = ContentMetadata.objects.filter(content_key=content_key)
    return rows.values_list("title", flat=True).first() or ""


def as_of(content: ContentMetadata) -> datetime:
    """Return when upstream was last seen to agree with what we say."""
    return content.checked_at


def _stored(content_key: str) -> ContentMetadata | None:
    rows = ContentMetadata.objects.select_related("parent").defer("payload", "parent__payload")
    return rows.filter(content_key=content_key).first()


def _fetched(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    """Fetch what we do not have, or wait for whoever is fetching it. A wait is bounded by the real clock."""
    deadline = time.monotonic() + settings.CONTENT_READ_DEADLINE.total_seconds()
    while True:
        known = cold_reads.acquire(content_key, catalog_uuid=catalog_uuid, now=now)
        # Whoever was asking may have landed between our look and this.
        content = _stored(content_key)
        if isinstance(known, cold_reads.Acquired):
            if content is None:
                return _asked(known, content_key, catalog_uuid=catalog_uuid, now=now)
            cold_reads.release(known)
        if content is not None:
            return content
        if known is ColdReadStatus.ABSENT:
            raise UnknownContent(content_key)
        if known is ColdReadStatus.SILENT or time.monotonic() >= deadline:
            raise ContentUnavailable("The catalog did not answer in time.")
        time.sleep(GLANCE)


def _asked(
    flight: cold_reads.Acquired, content_key: str, *, catalog_uuid: UUID, now: datetime
) -> ContentMetadata:
    try:
        report = refresh.refresh_keys(
            [content_key],
            catalog_uuid=catalog_uuid,
            source=refresh.configured_source(),
            now=now,
            by=RefreshSource.READ,
            within=settings.CONTENT_READ_DEADLINE,
        )
        content = _stored(content_key)
        for left_out in report.unparsable if content is None else ():
            if left_out.key == content_key and left_out.reason in _NOT_HANDED_OVER:
                raise ContentUnavailable(f"The catalog has a fault at {content_key}. {left_out.detail}")
        if content is None:
            cold_reads.remember_absent(flight, now=now)
            raise UnknownContent(content_key)
        return content
    except ContentUnavailable:
        cold_reads.remember_unavailable(flight, now=now)
        raise
    finally:
        cold_reads.release(flight)
