"""Where content is read: from the replica, or from upstream during a roll-out (record 0023, decision 0009).

`CONTENT_READS` decides for what lists, pages and mails show of assignments, and for allocation. The replica
is refreshed in every mode.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings

from bursary.catalog.values import is_key
from bursary.replica import reads, shadow, upstream_cache
from bursary.replica.models import ContentMetadata, ReadMode
from bursary.replica.types import CatalogKey, KnownContent, LookupKeys, UpstreamContent


def mode() -> ReadMode:
    """Return the mode that the settings name."""
    return ReadMode(settings.CONTENT_READS)


def reads_upstream() -> bool:
    """Return whether content is shown and allocated from upstream."""
    return mode() is not ReadMode.REPLICA


def from_upstream(keys: LookupKeys, *, now: datetime) -> KnownContent:
    """Return upstream's answers (see `upstream_cache.look_up`); in shadow mode, compare the new ones."""
    result = upstream_cache.look_up(keys, now=now)
    if mode() is ReadMode.SHADOW and result.fresh:
        shadow.compare(result.fresh, now=now)
    return result.known


def compare_again(*, clock: Callable[[], datetime]) -> None:
    """Compare again what differed when it was last compared, also where it is no longer read."""
    for found in shadow.standing_keys():
        runs = ContentMetadata.objects.filter(content_key__in={key.content_key for key in found})
        courses = dict(runs.exclude(parent_key="").order_by().values_list("content_key", "parent_key"))
        keys = {key: courses.get(key.content_key, key.content_key) for key in found}
        now = clock()
        shadow.compare(upstream_cache.look_up(keys, now=now, anew=True).fresh, now=now)


def one_from_upstream(content_key: str, *, catalog_uuid: UUID, now: datetime) -> UpstreamContent:
    """Return content as upstream serves it.

    Raises reads.UnknownContent where upstream has none, and reads.ContentUnavailable where it does not answer
    and the cache has no answer.
    """
    if not is_key(content_key):
        raise reads.UnknownContent(content_key)
    key = CatalogKey(catalog_uuid, content_key)
    known = from_upstream({key: content_key}, now=now)
    if key not in known:
        raise reads.ContentUnavailable("The catalog did not answer in time.")
    content = known[key]
    if content is None:
        raise reads.UnknownContent(content_key)
    return content


def linked(content_key: str, *, catalog_uuid: UUID, now: datetime) -> int | None:
    """Return the primary key of the row that an allocation refers to, fetched if need be; None without one.

    In mode upstream no allocation refers to a row. Raises what `reads.content_for` raises, but not in shadow
    mode: there upstream has answered already, and the backfill attaches the assignment later.
    """
    if mode() is ReadMode.UPSTREAM:
        return None
    try:
        return reads.content_for(content_key, catalog_uuid=catalog_uuid, now=now).pk
    except (reads.UnknownContent, reads.ContentUnavailable):
        if mode() is ReadMode.SHADOW:
            return None
        raise


def courses_of(
    keys: Collection[str], *, assigned: Iterable[tuple[UUID, str]], now: datetime
) -> dict[str, str]:
    """Return the course of each run among these keys.

    For a run without a row, upstream is asked for the courses that are `assigned`, given by catalog and key,
    and never for `keys`: a learner may have made them up.
    """
    rows = ContentMetadata.objects.filter(content_key__in=list(keys))
    parents = dict(rows.order_by().values_list("content_key", "parent_key"))
    unknown = {key for key in keys if key not in parents}
    if unknown and reads_upstream():
        courses = {CatalogKey(catalog_uuid, course): course for catalog_uuid, course in assigned}
        for content in from_upstream(courses, now=now).values():
            if content is not None:
                runs = {run.key for run in content.runs}
                parents |= dict.fromkeys(unknown & runs, content.content_key)
    return {run: course for run, course in parents.items() if course}
