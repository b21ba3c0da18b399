"""Reading upstream without keeping what it says: fetch and cache, as record 0023 found it.

An answer is served again for a while, that there is none as well. Where upstream does not answer, the last
answer is served for a day. One question is for at most `BATCH` keys of one catalog; all of them together
take at most `CONTENT_READ_DEADLINE`. The cache is this process's own, and bounded.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from bursary.catalog import schema
from bursary.catalog.source import CatalogUnavailable
from bursary.replica import freshness, guard, refresh
from bursary.replica.intake import batches
from bursary.replica.models import ContentMetadata
from bursary.replica.seeking import SILENT_FOR

KEPT_FOR = timedelta(hours=24)
"""How long an answer may be served while upstream does not give another."""
"""Upstream has it and fails on it: that is no answer."""


class Place(NamedTuple):
    """A key in a catalog."""

    catalog_uuid: UUID
    content_key: str


@dataclass(frozen=True, slots=True)
class UpstreamContent:
    """Content as upstream says it is, under the names of our columns. `checked_at` is when it said so."""

    content_key: str
    content_type: str
    parent_content_key: str
    title: str
    course_type: str
    partners: list[dict[str, Any]]
    partner_names: str
    start_date: datetime | None
    end_date: datetime | None
    enroll_by: datetime | None
    price_cents: int | None
    completeness: str
    checked_at: datetime


AnyContent = ContentMetadata | UpstreamContent
"""What is shown and allocated from: a row of ours, or what upstream says."""

Known = dict[Place, UpstreamContent | None]


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of places; None is content that upstream does not have, no entry is silence."""

    known: Known
    fresh: Known = field(default_factory=dict)
    """Those of them that upstream answered just now."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    at: datetime
    content: UpstreamContent | None

    def fresh(self, now: datetime) -> bool:
        return now < self.at + freshness.span("absent" if self.content is None else "cached")


def look_up(wanted: Mapping[Place, str], *, now: datetime, anew: bool = False) -> Answers:
    """Return what upstream says of places, from the cache or asked now. Never raises for upstream.

    `wanted` names for each place the key to ask for: a run that is over is found by its course alone.
    `anew`: do not look into the cache. Not for use inside a transaction, which would be held open meanwhile.
    """
    names = {place: _name(place) for place in wanted}
    found = {} if anew else cache.get_many(names.values())
    remembered: dict[Place, _Remembered] = {
        place: found[name] for place, name in names.items() if name in found
    }
    fresh = {place for place, one in remembered.items() if one.fresh(now)}
    answered = _ask({place: asked for place, asked in wanted.items() if place not in fresh}, now=now)
    entries = {names[place]: _Remembered(now, content) for place, content in answered.items()}
    cache.set_many(entries, timeout=KEPT_FOR.total_seconds())
    # That upstream did not have it long ago does not stand in for an answer.
    kept = {
        place: one.content for place, one in remembered.items() if place in fresh or one.content is not None
    }
    return Answers(kept | answered, answered)


def _ask(wanted: Mapping[Place, str], *, now: datetime) -> Known:
    until = time.monotonic() + settings.CONTENT_READ_DEADLINE.total_seconds()
    places_of: dict[UUID, list[Place]] = defaultdict(list)
    for place in wanted:
        places_of[place.catalog_uuid].append(place)
    answered: Known = {}
    for catalog_uuid, places in places_of.items():
        silence = f"bursary.silent.{catalog_uuid.hex}"
        if (silent_until := cache.get(silence)) is not None and now < silent_until:
            continue
        try:
            for batch in batches(places):
                answered |= _answer(catalog_uuid, {place: wanted[place] for place in batch}, until, now=now)
        except CatalogUnavailable:
            # Said by what is missing in the answer; for a moment nobody else waits for it.
            cache.set(silence, now + SILENT_FOR, timeout=SILENT_FOR.total_seconds())
    return answered


def _answer(catalog_uuid: UUID, wanted: Mapping[Place, str], until: float, *, now: datetime) -> Known:
    left = timedelta(seconds=until - time.monotonic())
    if left <= timedelta(0):
        raise CatalogUnavailable("There was no time left to ask for more.")
    keys = sorted(set(wanted.values()))
    elements = refresh.configured_source().fetch(catalog_uuid, keys=keys, within=left)
    contents, withheld = _read(elements, now=now)
    return {
        place: contents.get(place.content_key)
        for place, asked_for in wanted.items()
        if place.content_key in contents or not withheld & {place.content_key, asked_for}
    }


def _read(elements: Sequence[object], *, now: datetime) -> tuple[dict[str, UpstreamContent], set[str]]:
    """Return the usable records by key, runs too, and the keys of records that cannot be used."""
    records: list[schema.Content] = []
    withheld: set[str] = set()
    for raw in elements:
        try:
            records.append(schema.parse(raw))
        except schema.Unparsable as bad:
            if bad.content_key:  # it is there, whatever is wrong with it
                withheld.add(bad.content_key)
    chosen, _lost = guard.choose(records)
    return {key: _content(one, now=now) for key, one in chosen.items()}, withheld


def _content(content: schema.Content, *, now: datetime) -> UpstreamContent:
    columns = guard.columns(content)
    return UpstreamContent(
        content_key=content.content_key,
        content_type=content.content_type.value,
        parent_content_key=content.parent_key or "",
        checked_at=now,
        **{name: columns[name] for name in _OF_THE_COLUMNS},
    )


_OF_THE_COLUMNS: Iterable[str] = tuple(set(UpstreamContent.__dataclass_fields__) & set(guard.COLUMNS))


def _name(place: Place) -> str:
    """Keys may have spaces and any length; names in a cache may not."""
    digest = sha256(place.content_key.encode(errors="surrogatepass")).hexdigest()
    return f"bursary.content.{place.catalog_uuid.hex}.{digest}"
