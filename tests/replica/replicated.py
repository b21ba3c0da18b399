"""What a refresh left behind, and what it announced."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from bursary.catalog.source import CatalogCredentials, CatalogSource, open_source
from bursary.replica import refresh
from bursary.replica.models import ContentChange, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.enterprise_catalog.server import CLIENT_ID, CLIENT_SECRET, Upstream
from tests.replica.listing import CATALOG, COURSE, NOW, Listing

HOUR = timedelta(hours=1)


def over_http(upstream: Upstream) -> CatalogSource:
    credentials = CatalogCredentials(upstream.url, CLIENT_ID, CLIENT_SECRET, deadline=timedelta(seconds=5))
    return open_source(upstream.url, credentials=credentials)


def bring_in(*records: object, catalog_uuid: UUID = CATALOG, now: datetime = NOW) -> RefreshReport:
    return refresh.refresh_catalog(
        catalog_uuid, source=Listing(records), now=now, trigger=RefreshTrigger.CRON
    )


def row(content_key: str = COURSE) -> ContentMetadata:
    return ContentMetadata.objects.get(content_key=content_key)


def runs_of(course: ContentMetadata) -> QuerySet[ContentMetadata]:
    return ContentMetadata.objects.filter(parent_key=course.content_key)


def due(now: datetime) -> QuerySet[ContentMetadata]:
    """Return the rows that are due."""
    return ContentMetadata.objects.filter(due_at__lte=now)


def history() -> dict[tuple[str, str], tuple[object, object]]:
    return {
        (change.content.content_key, change.field): (change.old, change.new)
        for change in ContentChange.objects.select_related("content")
    }


@contextmanager
def announcements() -> Iterator[list[dict[str, Any]]]:
    announced: list[dict[str, Any]] = []

    def hear(**announcement: Any) -> None:
        announced.append(announcement)

    refresh.content_changed.connect(hear)
    yield announced
    refresh.content_changed.disconnect(hear)
