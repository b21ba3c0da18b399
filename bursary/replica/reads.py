"""Reads of content: from the replica's rows, or during a roll-out from upstream (decision 0009).

`CONTENT_READS` decides for what lists, pages and mails show of assignments, and for allocation. The replica
is refreshed in every mode.

Rows are served fresh or stale, also while upstream is down. Each read is for one catalog and returns the row
that this catalog holds. Only if the replica has no such row does the reader wait for a fetch.
"""

import time
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

from django.conf import settings
from django.db.models import FilteredRelation, Q, QuerySet

from bursary.catalog.payload import with_links
from bursary.catalog.values import is_key
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.replica import cold_reads, refresh, renamed_keys, schedule, shadow, upstream_cache
from bursary.replica.joining import is_summary
from bursary.replica.models import (
    CatalogMembership,
    ContentMetadata,
    ContentType,
    ReadMode,
    RefreshTrigger,
    in_catalog,
)
from bursary.replica.refresh import ContentUnavailable as ContentUnavailable
from bursary.replica.types import CatalogKey, KnownContent, LookupKeys, UpstreamContent

_NOT_SERVED = {"upstream_error", "too_large"}  # reasons of rejected records that upstream has


class UnknownContent(Exception):
    """The catalog does not have content with this key."""

    reason = "content_not_in_catalog"

    def __init__(self, content_key: str) -> None:
        super().__init__(content_key)
        self.content_key = content_key


def mode() -> ReadMode:
    """Return the mode that the settings name."""
    return ReadMode(settings.CONTENT_READS)


def are_from_upstream() -> bool:
    """Return whether content is shown and allocated from upstream."""
    return mode() is not ReadMode.REPLICA


def content_for(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    """Return the course, run, program or pathway with this key that the catalog holds, its payload deferred.

    A row that it holds is returned at once, with one query; if it is stale and no refresh is scheduled, one
    is requested. Otherwise, even if another catalog holds the content, and also for a summary record, the
    catalog is asked within `CONTENT_READ_DEADLINE`, once for all concurrent readers. Content that has left
    every catalog is not asked for. A course with a renamed key is also found by its former key.

    Raises UnknownContent where the catalog does not have the content, or lately did not, ContentUnavailable
    where it does not answer in time or has only a summary record, and RuntimeError where it would be asked
    inside a transaction.
    """
    if not is_key(content_key):
        raise UnknownContent(content_key)
    content = _stored(content_key, catalog_uuid=catalog_uuid)
    if content is None:
        key = renamed_keys.current_key(content_key)
        if _has_left_every_catalog(key):
            raise UnknownContent(content_key)
        return _cold_read(key, catalog_uuid=catalog_uuid, now=now)
    if is_summary(content):
        return _cold_read(content_key, catalog_uuid=catalog_uuid, now=now)
    if content.due_at is None and not content.fresh(now):
        schedule.request_unless_scheduled(content, now=now)
    return content


def held_by(catalog_uuid: UUID | Parameter) -> QuerySet[ContentMetadata]:
    """Return the content of a catalog, the runs in it included."""
    return ContentMetadata.objects.filter(in_catalog(catalog_uuid))


def courseware_urls(keys: Collection[CatalogKey]) -> dict[CatalogKey, str]:
    """Return the address of each key's run in the LMS, by the pattern `BURSARY_COURSEWARE_URL`. One query.

    For a course, it is the address of its advertised run. Without a pattern or a run, it is the enrolment URL
    for the key's catalog, else the marketing URL, else empty. Another catalog's URL would lead to another
    organisation.
    """
    in_these = Q(memberships__catalog_uuid__in={key.catalog_uuid for key in keys})
    rows = ContentMetadata.objects.filter(content_key__in={key.content_key for key in keys})
    columns = rows.annotate(held=FilteredRelation("memberships", condition=in_these)).values_list(
        "content_key", "parent_key", "advertised_run", "held__catalog_uuid", "held__links"
    )
    urls: dict[CatalogKey, str] = {}
    runs = set()  # also those that have left the catalog
    for key, parent_key, advertised_run, catalog_uuid, links in columns.order_by("held__pk"):
        if parent_key:
            runs.add(key)
        if catalog_uuid:
            own_url = _url(links.get("enrollment_url")) or _url(links.get("marketing_url"))
            urls[CatalogKey(catalog_uuid, key)] = _into_run(advertised_run) or own_url
    into_runs = {key: _into_run(key.content_key) for key in keys if key.content_key in runs}
    return {key: into_runs.get(key) or urls.get(key, "") for key in keys}


def _into_run(run_key: str) -> str:
    """Return the URL of the run's courseware; empty without a pattern or a run."""
    pattern: str = settings.COURSEWARE_URL
    return pattern.replace("{run}", quote(run_key, safe=":+")) if pattern and run_key else ""


def courseware_url(content_key: str, *, catalog_uuid: UUID) -> str:
    """Return `courseware_urls` for one key."""
    key = CatalogKey(catalog_uuid, content_key)
    return courseware_urls([key])[key]


def _url(link: object) -> str:
    return link if isinstance(link, str) and link.startswith(("https://", "http://")) else ""


def served_record(
    content: ContentMetadata, *, catalogs: Iterable[UUID] | QuerySet[Any, UUID]
) -> dict[str, object]:
    """Return upstream's record as served to the one of these catalogs that holds the content.

    Where several hold it, or none, the record has no links: each catalog has its own. Two queries for a
    course, because of its runs; one otherwise.
    """
    held = CatalogMembership.objects.filter(content=content, catalog_uuid__in=catalogs)
    found = list(held.order_by().values_list("catalog_uuid", "links")[:2])
    if len(found) != 1:
        return with_links(content.payload, content.content_key, {})
    catalog_uuid, links = found[0]
    served = {content.content_key: links}
    if content.content_type == ContentType.COURSE:
        runs = CatalogMembership.objects.filter(
            catalog_uuid=catalog_uuid, content__parent_key=content.content_key
        )
        served |= dict(runs.order_by().values_list("content__content_key", "links"))
    return with_links(content.payload, content.content_key, served)


class CourseText(NamedTuple):
    """The texts of a catalog's record for readers, as served: they may be HTML, and malicious."""

    description: str
    """The short one, else the long one; empty for none."""
    page_url: str
    """The marketing page; empty if the catalog gives no http or https URL."""


def texts_of(courses: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], CourseText]:
    """Return the texts of content by catalog and key, empty where the catalog does not hold it. One query."""
    catalogs, keys = {catalog for catalog, _key in courses}, {key for _catalog, key in courses}
    found: dict[tuple[UUID, str], CourseText] = {}
    for catalog, key, payload, links in _texts.read(catalogs=catalogs, keys=keys):
        texts = (payload.get(name) for name in ("short_description", "full_description"))
        description = next((text for text in texts if isinstance(text, str) and text), "")
        found[catalog, key] = CourseText(description, _url(links.get("marketing_url")))
    return {course: found.get(course, CourseText("", "")) for course in courses}


@PreparedSelect
def _texts() -> QuerySet[CatalogMembership, Any]:
    """Return what `texts_of` reads: what these catalogs hold with these keys."""
    rows = CatalogMembership.objects.filter(
        catalog_uuid__in=Parameter("catalogs", CatalogMembership._meta.get_field("catalog_uuid")),
        content__content_key__in=Parameter("keys", ContentMetadata._meta.get_field("content_key")),
    )
    columns = ("catalog_uuid", "content__content_key", "content__payload", "links")
    return rows.order_by("-pk").values_list(*columns)


def title_of(content_key: str, *, catalog_uuid: UUID) -> str:
    """Return the title of the catalog's row, empty where it holds none. Never asks upstream."""
    rows = held_by(catalog_uuid).filter(content_key=content_key)
    return rows.values_list("title", flat=True).first() or ""


def _stored(content_key: str, *, catalog_uuid: UUID) -> ContentMetadata | None:
    found: ContentMetadata | None = _row.first(key=content_key, catalog=catalog_uuid)
    return found


@PreparedSelect
def _row() -> QuerySet[ContentMetadata]:
    """Return the row that this catalog holds with this key."""
    catalog = Parameter("catalog", CatalogMembership._meta.get_field("catalog_uuid"))
    key = Parameter("key", ContentMetadata._meta.get_field("content_key"))
    return held_by(catalog).defer("payload").filter(content_key=key)[:1]


def _has_left_every_catalog(content_key: str) -> bool:
    rows = ContentMetadata.objects.filter(content_key=content_key).exclude(content_type=ContentType.COURSERUN)
    left = set(rows.order_by().values_list("gone_at", flat=True))
    return bool(left) and None not in left


def _cold_read(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata:
    """Ask the catalog for content, or wait for a reader that does, until the deadline."""

    def read_stored() -> ContentMetadata | None:
        content = _stored(content_key, catalog_uuid=catalog_uuid)
        return None if content is None or is_summary(content) else content

    content = cold_reads.ask_once(
        content_key,
        catalog_uuid=catalog_uuid,
        read_stored=read_stored,
        fetch=lambda: _fetch(content_key, catalog_uuid=catalog_uuid, now=now),
        ends_at=time.monotonic() + settings.CONTENT_READ_DEADLINE.total_seconds(),
        now=now,
    )
    if content is None:
        raise UnknownContent(content_key)
    return content


def _fetch(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ContentMetadata | None:
    """Return content fetched now; None if the catalog has none. Raises ContentUnavailable."""
    # A run that has ended is found by its course alone, which another catalog may have named.
    runs = ContentMetadata.objects.filter(content_key=content_key).exclude(parent_key="")
    report = refresh.refresh_keys(
        [content_key, *runs.values_list("parent_key", flat=True)],
        catalog_uuid=catalog_uuid,
        source=refresh.configured_source(),
        now=now,
        trigger=RefreshTrigger.READ,
        timeout=settings.CONTENT_READ_DEADLINE,
    )
    content = _stored(content_key, catalog_uuid=catalog_uuid)
    if (content is not None and is_summary(content)) or _is_of_summary_course(content_key, catalog_uuid):
        raise ContentUnavailable("The catalog has not the whole record yet.")
    if content is None:
        for rejected in report.unparsable:
            if rejected.reason in _NOT_SERVED:
                raise ContentUnavailable(f"The catalog failed on {rejected.key}. {rejected.detail}")
    return content


def _is_of_summary_course(run_key: str, catalog_uuid: UUID) -> bool:
    """Return whether the catalog holds only a summary record of this run's course: it names no runs yet."""
    run = ContentMetadata.objects.filter(content_key=run_key).exclude(parent_key="")
    held = held_by(catalog_uuid)
    courses = held.filter(content_key__in=run.values("parent_key"))
    return not held.filter(pk__in=run).exists() and any(map(is_summary, courses))


# -- Upstream, in place of the replica -----------------------------------------------------------------------


def from_upstream(keys: LookupKeys, *, now: datetime) -> KnownContent:
    """Return upstream's answers (see `upstream_cache.look_up`); in shadow mode, compare the new ones."""
    result = upstream_cache.look_up(keys, now=now)
    if mode() is ReadMode.SHADOW and result.fetched_now:
        shadow.compare(result.fetched_now, now=now)
    return result.known


def one_from_upstream(content_key: str, *, catalog_uuid: UUID, now: datetime) -> UpstreamContent:
    """Return content as upstream serves it.

    Raises UnknownContent where upstream has none, and ContentUnavailable where it does not answer
    and the cache has no answer.
    """
    if not is_key(content_key):
        raise UnknownContent(content_key)
    key = CatalogKey(catalog_uuid, content_key)
    known = from_upstream({key: content_key}, now=now)
    if key not in known:
        raise ContentUnavailable("The catalog did not answer in time.")
    content = known[key]
    if content is None:
        raise UnknownContent(content_key)
    return content


def pk_to_assign(content_key: str, *, catalog_uuid: UUID, now: datetime) -> int | None:
    """Return the primary key of the row that an allocation refers to, fetched if necessary; None without one.

    In mode upstream no allocation refers to a row. Raises like `content_for`, except in shadow mode: there
    upstream has already answered, and the backfill attaches the assignment later.
    """
    if mode() is ReadMode.UPSTREAM:
        return None
    try:
        return content_for(content_key, catalog_uuid=catalog_uuid, now=now).pk
    except (UnknownContent, ContentUnavailable):
        if mode() is ReadMode.SHADOW:
            return None
        raise


def courses_of(
    keys: Collection[str], *, assigned: Iterable[tuple[UUID, str]], now: datetime
) -> dict[str, str]:
    """Return the course of each run among these keys.

    To find the course of a run without a row, upstream is asked for the `assigned` courses, given by catalog
    and key. It is not asked for `keys`, which a learner may have invented.
    """
    rows = ContentMetadata.objects.filter(content_key__in=list(keys))
    parents = dict(rows.order_by().values_list("content_key", "parent_key"))
    unknown = {key for key in keys if key not in parents}
    if unknown and are_from_upstream():
        courses = {CatalogKey(catalog_uuid, course): course for catalog_uuid, course in assigned}
        for content in from_upstream(courses, now=now).values():
            if content is not None:
                runs = {run.key for run in content.runs}
                parents |= dict.fromkeys(unknown & runs, content.content_key)
    return {run: course for run, course in parents.items() if course}
