"""Reads of the replica. Its rows are served fresh or stale, also while upstream is down.

Only content without a row is fetched while the reader waits.
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
from bursary.lib import leases
from bursary.replica import cold_reads, refresh
from bursary.replica.models import CatalogMembership, ColdRead, ColdReadStatus, ContentMetadata, RefreshSource
from bursary.replica.refresh import ContentUnavailable as ContentUnavailable

POLL_INTERVAL = 0.05  # seconds, while another reader fetches the same key

_NOT_SERVED = {"upstream_error", "too_large"}  # reasons of rejected records that upstream has


class UnknownContent(Exception):
    """Neither the replica nor the catalog has content with this key."""

    reason = "content_not_in_catalog"

    def __init__(self, content_key: str) -> None:
        super().__init__(content_key)
        self.content_key = content_key


def content_for(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    """Return the course, run, program or pathway with this key, its payload deferred.

    A row is served at once, with one query, whatever catalog it came from (see `membership`); where it is
    stale and no refresh is scheduled, one is requested. Without a row the content is fetched from
    `catalog_uuid` within `CONTENT_READ_DEADLINE`, once for all concurrent readers; inside a transaction that
    raises RuntimeError. Raises UnknownContent where upstream has no such content, or had none lately, and
    ContentUnavailable where it does not answer in time.
    """
    if not is_key(content_key):
        raise UnknownContent(content_key)
    content = _stored(content_key)
    if content is None:
        return _cold_read(content_key, catalog_uuid=catalog_uuid, now=now)
    refreshed = content.parent or content  # a run is refreshed with its course
    if refreshed.due_at is None and not refreshed.fresh(now):
        leases.schedule(ContentMetadata.objects.filter(pk=refreshed.pk, due_at=None), at=now, now=now)
    return content


def held_by(catalog_uuid: UUID) -> QuerySet[ContentMetadata]:
    """Return the content of a catalog, runs included."""
    return ContentMetadata.objects.filter(membership(catalog_uuid))


def membership(catalog_uuid: UUID) -> Exists:
    """Return a condition, or annotation, on content: the catalog holds it, or the course of a run."""
    return Exists(
        CatalogMembership.objects.filter(
            Q(content=OuterRef("pk")) | Q(content=OuterRef("parent")), catalog_uuid=catalog_uuid
        )
    )


def courseware_url(content_key: str, *, catalog_uuid: UUID) -> str:
    """Return the enrolment URL for this catalog, or its marketing URL; empty without either. One query.

    Another catalog's URL would lead into another organisation.
    """
    holder = ContentMetadata.objects.filter(content_key=content_key).values(holder=Coalesce("parent", "pk"))
    rows = CatalogMembership.objects.filter(content=holder[:1], catalog_uuid=catalog_uuid)
    served = rows.values_list("links", flat=True).first() or {}
    for name in ("enrollment_url", "marketing_url"):
        url = served.get(content_key, {}).get(name)
        if isinstance(url, str) and url.startswith(("https://", "http://")):
            return url
    return ""


def record(content: ContentMetadata, *, catalogs: Iterable[UUID] | QuerySet[Any, UUID]) -> dict[str, object]:
    """Return upstream's record as served to the one of these catalogs that holds the content. One query.

    Where several hold it, or none, the record is without links, which are each catalog's own.
    """
    held = CatalogMembership.objects.filter(
        content=content.parent_id or content.pk, catalog_uuid__in=catalogs
    )
    found = list(held.order_by().values_list("links", flat=True)[:2])
    return with_links(content.payload, content.content_key, found[0] if len(found) == 1 else {})


def title_of(content_key: str) -> str:
    """Return the title in the replica, empty where there is no row. Never asks upstream."""
    rows = ContentMetadata.objects.filter(content_key=content_key)
    return rows.values_list("title", flat=True).first() or ""


def _stored(content_key: str) -> ContentMetadata | None:
    rows = ContentMetadata.objects.select_related("parent").defer("payload", "parent__payload")
    return rows.filter(content_key=content_key).first()


def _cold_read(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    """Fetch content without a row, or wait for the reader that fetches it, at most until the deadline."""
    ends = time.monotonic() + settings.CONTENT_READ_DEADLINE.total_seconds()
    while True:
        acquired = cold_reads.acquire(content_key, catalog_uuid=catalog_uuid, now=now)
        content = _stored(content_key)  # another reader may have stored it just now
        if isinstance(acquired, ColdRead):
            if content is None:
                return _fetch(acquired, now=now)
            cold_reads.release(acquired)
        if content is not None:
            return content
        if acquired is ColdReadStatus.ABSENT:
            raise UnknownContent(content_key)
        if acquired is ColdReadStatus.SILENT or time.monotonic() >= ends:
            raise ContentUnavailable("The catalog did not answer in time.")
        time.sleep(POLL_INTERVAL)


def _fetch(read: ColdRead, *, now: datetime) -> ContentMetadata:
    try:
        report = refresh.refresh_keys(
            [read.content_key],
            catalog_uuid=read.catalog_uuid,
            source=refresh.configured_source(),
            now=now,
            by=RefreshSource.READ,
            within=settings.CONTENT_READ_DEADLINE,
        )
        content = _stored(read.content_key)
        if content is not None:
            return content
        for rejected in report.unparsable:
            if rejected.key == read.content_key and rejected.reason in _NOT_SERVED:
                raise ContentUnavailable(f"The catalog failed on {rejected.key}. {rejected.detail}")
        cold_reads.remember(read, ColdReadStatus.ABSENT, now=now)
        raise UnknownContent(read.content_key)
    except ContentUnavailable:
        cold_reads.remember(read, ColdReadStatus.SILENT, now=now)
        raise
    finally:
        cold_reads.release(read)
