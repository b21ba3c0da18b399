"""What everyone asks of the replica. Our own rows answer, fresh or stale, also while upstream is out.

Only content that we never saw is fetched while somebody waits.
"""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from bursary.catalog.fields import is_key
from bursary.replica import refresh
from bursary.replica.models import CatalogMembership, ContentMetadata, RefreshSource
from bursary.replica.refresh import ContentUnavailable

__all__ = [
    "ContentUnavailable",
    "UnknownContent",
    "as_of",
    "content_for",
    "courseware_url",
    "held_by",
    "membership",
]


COLD_MISS = timedelta(seconds=2)
"""How long somebody waits for content that we never saw."""

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
    is stale, it is also marked as wanted. What we do not have is fetched from `catalog_uuid`, once, which is
    refused inside a transaction (RuntimeError). Raises UnknownContent where upstream does not have it
    either, and ContentUnavailable where upstream does not answer within `COLD_MISS`, or fails on this record.
    """
    if not is_key(content_key):
        raise UnknownContent(content_key)
    content = _stored(content_key)
    if content is None:
        return _fetched(content_key, catalog_uuid=catalog_uuid, now=now)
    if content.due_at is None and not content.fresh(now):
        ContentMetadata.objects.filter(pk=content.pk, due_at=None).update(due_at=now)
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


def courseware_url(content_key: str) -> str:
    """Return where upstream sends who takes the content up; empty where it does not say."""
    payloads = ContentMetadata.objects.filter(content_key=content_key).values_list("payload", flat=True)
    payload = payloads.first() or {}
    for name in ("enrollment_url", "marketing_url"):
        url = payload.get(name)
        if isinstance(url, str) and url.startswith(("https://", "http://")):
            return url
    return ""


def as_of(content: ContentMetadata) -> datetime:
    """Return when upstream was last seen to agree with what we say."""
    return content.checked_at


def _stored(content_key: str) -> ContentMetadata | None:
    return ContentMetadata.objects.defer("payload").filter(content_key=content_key).first()


def _fetched(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    report = refresh.refresh_keys(
        [content_key],
        catalog_uuid=catalog_uuid,
        source=refresh.configured_source(),
        now=now,
        by=RefreshSource.READ,
        within=COLD_MISS,
    )
    content = _stored(content_key)
    for left_out in report.unparsable if content is None else ():
        if left_out.key == content_key and left_out.reason in _NOT_HANDED_OVER:
            raise ContentUnavailable(f"The catalog has a fault at {content_key}. {left_out.detail}")
    if content is None:
        raise UnknownContent(content_key)
    return content
