"""Where content is read: from our rows, or from upstream while one moves over (record 0023, decision 0009).

`CONTENT_READS` decides for what is shown of assignments and for allocation. The refresher fills the replica
in every mode.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from uuid import UUID

from django.conf import settings

from bursary.catalog.values import is_key
from bursary.replica import reads, shadow, upstream_cache
from bursary.replica.models import ContentMetadata, ReadMode
from bursary.replica.upstream_cache import CatalogKey, KnownContent, LookupKeys, UpstreamContent


def mode() -> ReadMode:
    """Return the mode that the settings name."""
    return ReadMode(settings.CONTENT_READS)


def reads_upstream() -> bool:
    """Tell whether upstream is what is shown and allocated from."""
    return mode() is not ReadMode.REPLICA


def from_upstream(wanted: LookupKeys, *, now: datetime) -> KnownContent:
    """Return what upstream says of places (see `upstream_reads.look_up`); in shadow mode it is compared."""
    answers = upstream_cache.look_up(wanted, now=now)
    if mode() is ReadMode.SHADOW and answers.fresh:
        shadow.compare(answers.fresh, now=now)
    return answers.known


def look_again(*, clock: Callable[[], datetime]) -> None:
    """Compare anew what differed when it was last compared, also if nobody reads it any more."""
    last = 0
    while places := shadow.standing_places(after=last):
        last = max(places)
        runs = ContentMetadata.objects.filter(
            content_key__in={place.content_key for place in places.values()}
        )
        courses = dict(runs.exclude(parent=None).values_list("content_key", "parent__content_key"))
        wanted = {place: courses.get(place.content_key, place.content_key) for place in places.values()}
        now = clock()
        shadow.compare(upstream_cache.look_up(wanted, now=now, anew=True).fresh, now=now)


def one_from_upstream(content_key: str, *, catalog_uuid: UUID, now: datetime) -> UpstreamContent:
    """Return content as upstream says it is.

    Raises reads.UnknownContent where it has none, and reads.ContentUnavailable where it does not answer and
    did not lately.
    """
    if not is_key(content_key):
        raise reads.UnknownContent(content_key)
    place = CatalogKey(catalog_uuid, content_key)
    known = from_upstream({place: content_key}, now=now)
    if place not in known:
        raise reads.ContentUnavailable("The catalog did not answer in time.")
    content = known[place]
    if content is None:
        raise reads.UnknownContent(content_key)
    return content


def linked(content_key: str, *, catalog_uuid: UUID, now: datetime) -> int | None:
    """Return the pk of our row for what is being allocated, fetched if need be; None where there is none.

    In mode upstream nothing is linked, as before the replica.
    """
    if mode() is ReadMode.UPSTREAM:
        return None
    try:
        return reads.content_for(content_key, catalog_uuid=catalog_uuid, now=now).pk
    except (reads.UnknownContent, reads.ContentUnavailable):
        if mode() is ReadMode.SHADOW:
            return None  # upstream has answered: the backfill links it later
        raise


def courses_of(
    keys: Collection[str], *, assigned: Iterable[tuple[UUID, str]], now: datetime
) -> dict[str, str]:
    """Return the course of each run among these keys.

    Where our rows do not know a run, upstream may: it is asked for the courses that are `assigned`, by their
    catalogs and keys, and never for `keys`, which whoever calls may have made up.
    """
    rows = ContentMetadata.objects.filter(content_key__in=list(keys))
    parents = dict(rows.values_list("content_key", "parent__content_key"))
    unknown = {key for key in keys if key not in parents}
    if unknown and reads_upstream():
        wanted = {CatalogKey(catalog_uuid, course): course for catalog_uuid, course in assigned}
        for content in from_upstream(wanted, now=now).values():
            if content is not None:
                parents |= dict.fromkeys(unknown.intersection(content.run_keys), content.content_key)
    return {run: course for run, course in parents.items() if course}
