"""Fetch and cache: upstream's answers, kept in this process and not in the replica (decision 0009).

A fresh answer is served from the cache, and so is the answer that there is no such content. A request names
at most `BATCH` keys of one catalog, and a lookup takes at most `CONTENT_READ_DEADLINE` in all. One lookup of
this process at a time asks a catalog; the others wait for its answers, as cold reads do. What is not answered
is served from the cache for a day; a catalog that answers nothing is left alone by the breaker of its HTTP
client.
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
"""How long an answer may stand in for a newer one that upstream does not give."""
LEAST_SHARE = 0.1
"""Share of the deadline below which no request is begun: it would fail, and count against upstream."""

_PROGRAM = uuid4()  # of this and the processes forked from it: others may have the number of one
_COPIED = set(UpstreamContent.__dataclass_fields__) & set(merge.COLUMNS)


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The answers to a lookup: all of them, from the cache too, and those that upstream gave just now."""

    known: KnownContent
    fresh: KnownContent


@dataclass(frozen=True, slots=True)
class _Cached:
    at: datetime
    content: UpstreamContent | None

    def fresh(self, now: datetime) -> bool:
        return now < self.at + schedule.fresh_for("absent" if self.content is None else "cached")


def look_up(keys: LookupKeys, *, now: datetime, anew: bool = False) -> LookupResult:
    """Return upstream's answers from the cache, or ask for them; with `anew`, ask for all of them.

    Never raises for upstream. Raises RuntimeError where upstream is to be asked inside a transaction, which
    would stay open meanwhile.
    """
    ends = time.monotonic() + settings.CONTENT_READ_DEADLINE.total_seconds()
    cached = {} if anew else _cached(keys)
    missing: dict[UUID, dict[CatalogKey, str]] = defaultdict(dict)
    for key, asked in _stale(keys, cached, now=now).items():
        missing[key.catalog_uuid][key] = asked
    answered: KnownContent = {}
    for catalog_uuid, lookups in missing.items():
        answered |= _ask_once(catalog_uuid, lookups, cached, anew=anew, ends=ends, now=now)
    # An old answer that there is no such content does not stand in for a newer one.
    kept = {key: one.content for key, one in cached.items() if one.fresh(now) or one.content is not None}
    return LookupResult(kept | answered, answered)


def _ask_once(
    catalog_uuid: UUID,
    lookups: LookupKeys,
    cached: dict[CatalogKey, _Cached],
    *,
    anew: bool,
    ends: float,
    now: datetime,
) -> KnownContent:
    """Ask a catalog once no other lookup does, but for what others have cached meanwhile; note that."""

    def known() -> KnownContent | None:
        if not anew:
            cached.update(_cached(lookups))
        return None if _stale(lookups, cached, now=now) else {}

    def ask() -> KnownContent:
        return _ask(catalog_uuid, _stale(lookups, cached, now=now), ends=ends, now=now)

    name = _name_of_lookups(os.getpid())
    try:
        found = cold_reads.ask_once(name, catalog_uuid=catalog_uuid, known=known, ask=ask, ends=ends, now=now)
    except refresh.ContentUnavailable:
        return {}
    return found or {}


def _name_of_lookups(process: int) -> str:
    """Return what stands for a key where a process asks: other processes cannot see what it caches."""
    return f"lookups of {_PROGRAM}, process {process}"


def _ask(catalog_uuid: UUID, keys: LookupKeys, *, ends: float, now: datetime) -> KnownContent:
    """Ask a catalog, `BATCH` keys a request, and cache each answer. Stop where it does not answer in time."""
    answered: KnownContent = {}
    for batch in chunks(sorted(keys), BATCH):
        left = timedelta(seconds=ends - time.monotonic())
        if left < LEAST_SHARE * settings.CONTENT_READ_DEADLINE:
            break
        lookups = {key: keys[key] for key in batch}
        try:
            elements = refresh.configured_source().fetch(
                catalog_uuid, keys=sorted(set(lookups.values())), within=left
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
    columns = merge.columns(content)
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
    """Return the cache's name of an answer: a digest, as keys may hold spaces and be of any length.

    The key that upstream is asked for is part of it: that a run's own key finds nothing any more says nothing
    of what its course's key finds.
    """
    digest = sha256("\0".join((key.content_key, asked)).encode(errors="surrogatepass")).hexdigest()
    return f"bursary.content.{key.catalog_uuid.hex}.{digest}"
