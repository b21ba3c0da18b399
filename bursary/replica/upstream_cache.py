"""Fetch and cache: upstream's answers, kept in this process and not in the replica (decision 0009).

Fresh answers are served from the cache, including the answer that there is no such content. A request names
at most `BATCH` keys of one catalog, and a lookup takes at most `CONTENT_READ_DEADLINE` in all. In a process,
one lookup at a time asks a catalog; others wait for its answers, as cold reads do. While a catalog does not
answer, its old answers are served for a day; the breaker of its HTTP client limits requests to it.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID, uuid4

from django.conf import settings
from django.core.cache import cache

from bursary.catalog import parser
from bursary.catalog.records import CatalogUnavailable, Content, ContentType
from bursary.lib.batches import chunks
from bursary.replica import cold_reads, merge, refresh, schedule
from bursary.replica.ingest import BATCH
from bursary.replica.joining import RunTerms
from bursary.replica.types import CatalogKey, KnownContent, LookupKeys, UpstreamContent

KEPT_FOR = timedelta(hours=24)
"""How long an answer is served while upstream does not answer."""
LEAST_SHARE = 0.1
"""No request begins with less than this share of the deadline left: it would fail, and open the breaker."""

_PROGRAM = uuid4()  # of this and the processes forked from it: others may have the number of one
_COPIED = set(UpstreamContent.__dataclass_fields__) & set(merge.COLUMNS)


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The answers to a lookup: all of them, from the cache too, and those that upstream gave just now."""

    known: KnownContent
    fetched_now: KnownContent


@dataclass(frozen=True, slots=True)
class _Cached:
    at: datetime
    content: UpstreamContent | None

    def fresh(self, now: datetime) -> bool:
        return now < self.at + schedule.fresh_for("absent" if self.content is None else "cached")


def look_up(keys: LookupKeys, *, now: datetime, bypass_cache: bool = False) -> LookupResult:
    """Return upstream's answers from the cache, or request them; with `bypass_cache`, request all of them.

    Raises nothing where upstream does not answer. Raises RuntimeError where a request would be made inside a
    transaction, which would stay open meanwhile.
    """
    ends_at = time.monotonic() + settings.CONTENT_READ_DEADLINE.total_seconds()
    cached = {} if bypass_cache else _cached(keys)
    missing: dict[UUID, dict[CatalogKey, str]] = defaultdict(dict)
    for key, asked in _stale(keys, cached, now=now).items():
        missing[key.catalog_uuid][key] = asked
    answered: KnownContent = {}
    for catalog_uuid, lookups in missing.items():
        answered |= _ask_once(
            catalog_uuid, lookups, cached, bypass_cache=bypass_cache, ends_at=ends_at, now=now
        )
    # An old answer that there is no such content does not stand in for a newer one.
    kept = {key: one.content for key, one in cached.items() if one.fresh(now) or one.content is not None}
    return LookupResult(kept | answered, answered)


def _ask_once(
    catalog_uuid: UUID,
    lookups: LookupKeys,
    cached: dict[CatalogKey, _Cached],
    *,
    bypass_cache: bool,
    ends_at: float,
    now: datetime,
) -> KnownContent:
    """Ask a catalog when no other lookup does, for the answers that no lookup has cached meanwhile."""

    def read_cached() -> KnownContent | None:
        if not bypass_cache:
            cached.update(_cached(lookups))
        return None if _stale(lookups, cached, now=now) else {}

    def fetch() -> KnownContent:
        return _ask(catalog_uuid, _stale(lookups, cached, now=now), ends_at=ends_at, now=now)

    name = _name_of_lookups(os.getpid())
    try:
        found = cold_reads.ask_once(
            name, catalog_uuid=catalog_uuid, read_stored=read_cached, fetch=fetch, ends_at=ends_at, now=now
        )
    except refresh.ContentUnavailable:
        return {}
    return found or {}


def _name_of_lookups(process: int) -> str:
    """Return the name of a process, used as the key of its lookups: no other process sees its cache."""
    return f"lookups of {_PROGRAM}, process {process}"


def _ask(catalog_uuid: UUID, keys: LookupKeys, *, ends_at: float, now: datetime) -> KnownContent:
    """Ask a catalog, `BATCH` keys a request, and cache each answer; stop when it does not answer in time."""
    answered: KnownContent = {}
    for batch in chunks(sorted(keys), BATCH):
        left = timedelta(seconds=ends_at - time.monotonic())
        if left < LEAST_SHARE * settings.CONTENT_READ_DEADLINE:
            break
        lookups = {key: keys[key] for key in batch}
        try:
            elements = refresh.configured_source().fetch(
                catalog_uuid, keys=sorted(set(lookups.values())), timeout=left
            )
        except CatalogUnavailable:
            break
        found = _contents(elements, lookups, now=now)
        entries = {_name(key, lookups[key]): _Cached(now, content) for key, content in found.items()}
        cache.set_many(entries, timeout=KEPT_FOR.total_seconds())
        answered |= found
    return answered


def _contents(elements: Iterable[object], lookups: LookupKeys, *, now: datetime) -> KnownContent:
    """Return the answer for each key; none for the key of a record that is there and cannot be used."""
    records, unusable = parser.parse_all(elements)
    chosen, _lost = merge.choose_records(records)
    withheld = {bad.content_key for bad in unusable}
    return {
        key: _content(chosen[key.content_key], now=now) if key.content_key in chosen else None
        for key, asked in lookups.items()
        if key.content_key in chosen or not withheld & {key.content_key, asked}
    }


def _content(content: Content, *, now: datetime) -> UpstreamContent:
    columns = merge.column_values(content)
    runs = (content,) if content.content_type is ContentType.COURSERUN else content.runs
    return UpstreamContent(
        content_key=content.content_key,
        content_type=content.content_type.value,
        parent_content_key=content.parent_key or "",
        checked_at=now,
        runs=tuple(RunTerms.of(run) for run in runs),
        **{name: columns[name] for name in _COPIED},
    )


def _cached(keys: LookupKeys) -> dict[CatalogKey, _Cached]:
    names = {key: _name(key, asked) for key, asked in keys.items()}
    found: Mapping[str, _Cached] = cache.get_many(names.values())
    return {key: found[name] for key, name in names.items() if name in found}


def _stale(keys: LookupKeys, cached: Mapping[CatalogKey, _Cached], *, now: datetime) -> LookupKeys:
    return {key: asked for key, asked in keys.items() if key not in cached or not cached[key].fresh(now)}


def _name(key: CatalogKey, asked: str) -> str:
    """Return the cache key of an answer: a digest, because content keys may contain spaces and be long.

    It includes the key of the request: a run may be found by its course's key and not by its own.
    """
    digest = sha256("\0".join((key.content_key, asked)).encode(errors="surrogatepass")).hexdigest()
    return f"bursary.content.{key.catalog_uuid.hex}.{digest}"
