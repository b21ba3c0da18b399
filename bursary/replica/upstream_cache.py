"""Reading upstream without keeping what it says: fetch and cache, as record 0023 found it.

An answer is served again for a while, that there is none as well. Where upstream does not answer, the last
answer is served for a day. One question is for at most `BATCH` keys of one catalog; all that one look takes,
waiting for others included, is at most `CONTENT_READ_DEADLINE`. What one thread is asking, no other asks.

A catalog that is unavailable is left alone for a moment. One that only takes longer than we have is not: the
keys of such a question are asked for one by one from then on, after all others, and those that are too slow
alone are left alone. Where nothing is answered at all the client's breaker opens, and it is unavailable.

The cache is this process's own, and bounded. An answer is remembered by what was asked, too: a run that is
over is found by its course, and not by its own key.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.cache import cache

from bursary.catalog import parser
from bursary.catalog.source import CatalogTooSlow, CatalogUnavailable
from bursary.lib.batches import chunks
from bursary.replica import merge, refresh, schedule
from bursary.replica.cold_reads import SILENT_FOR
from bursary.replica.ingest import BATCH
from bursary.replica.models import ContentMetadata

KEPT_FOR = timedelta(hours=24)
"""How long an answer may be served while upstream does not give another."""
SUSPECTED_FOR = timedelta(minutes=10)
"""How long a key that was in a question that took too long is asked for alone."""
RESTS_FOR = timedelta(minutes=1)
"""Nobody asks again so soon for a key that was too slow alone twice: five times in a row open the breaker."""
LEAST_SHARE = 0.1  # of the deadline, that a question is given
GLANCE = 0.05  # seconds between two glances at what another is asking


class CatalogKey(NamedTuple):
    """A key in a catalog."""

    catalog_uuid: UUID
    content_key: str


LookupKeys = Mapping[CatalogKey, str]
"""Places, each with the key to ask for."""


@dataclass(frozen=True, slots=True)
class UpstreamContent:
    """Content as upstream says it is, under the names of our columns. `checked_at` is when it said so, and
    `run_keys` are a course's."""

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
    run_keys: tuple[str, ...]


AnyContent = ContentMetadata | UpstreamContent
"""What is shown and allocated from: a row of ours, or what upstream says."""

KnownContent = dict[CatalogKey, UpstreamContent | None]


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What is known of places; None is content that upstream does not have, no entry is silence."""

    known: KnownContent
    fresh: KnownContent = field(default_factory=dict)
    """Those of them that upstream answered just now."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    at: datetime
    content: UpstreamContent | None

    def fresh(self, now: datetime) -> bool:
        return now < self.at + schedule.fresh_for("absent" if self.content is None else "cached")


def look_up(wanted: LookupKeys, *, now: datetime, anew: bool = False) -> LookupResult:
    """Return what upstream says of places, from the cache or asked now. Never raises for upstream.

    `wanted` names for each place the key to ask for: a run that is over is found by its course alone.
    `anew`: do not look into the cache. Not for use inside a transaction, which would be held open meanwhile.
    """
    until = time.monotonic() + _deadline()
    names = {place: _name(place, asked) for place, asked in wanted.items()}
    remembered = {} if anew else _remembered(names)
    missing = {place: wanted[place] for place in wanted.keys() - _fresh(remembered, now=now)}
    mine = {place: asked for place, asked in missing.items() if _take_off(names[place])}
    try:
        answered = _ask(mine, until, now=now)
        entries = {names[place]: _Remembered(now, content) for place, content in answered.items()}
        cache.set_many(entries, timeout=KEPT_FOR.total_seconds())
    finally:
        cache.delete_many(_flight(names[place]) for place in mine)
    if theirs := {place: names[place] for place in missing if place not in mine}:
        _wait_for(theirs.values(), until)
        remembered |= _remembered(theirs)
    # That upstream did not have it long ago does not stand in for an answer.
    fresh = _fresh(remembered, now=now)
    kept = {
        place: one.content for place, one in remembered.items() if place in fresh or one.content is not None
    }
    return LookupResult(kept | answered, answered)


def _remembered(names: Mapping[CatalogKey, str]) -> dict[CatalogKey, _Remembered]:
    found: Mapping[str, _Remembered] = cache.get_many(names.values())
    return {place: found[name] for place, name in names.items() if name in found}


def _fresh(remembered: Mapping[CatalogKey, _Remembered], *, now: datetime) -> set[CatalogKey]:
    return {place for place, one in remembered.items() if one.fresh(now)}


def _take_off(name: str) -> bool:
    """Take up a question, unless another thread has; that one's answer is ours, too."""
    return bool(cache.add(_flight(name), True, timeout=2 * _deadline()))  # it lands long before


def _wait_for(names: Iterable[str], until: float) -> None:
    flights = [_flight(name) for name in names]
    while cache.get_many(flights) and time.monotonic() < until:
        time.sleep(GLANCE)


def _ask(wanted: LookupKeys, until: float, *, now: datetime) -> KnownContent:
    answered: KnownContent = {}
    for catalog_uuid, asked, most in _questions(wanted, now=now):
        left = (until - time.monotonic()) * most
        silence = f"bursary.silent.{catalog_uuid.hex}"
        if left < LEAST_SHARE * _deadline():
            break  # nothing is blamed for what we had no time for; what is missing in the answer says so
        if (silent_until := cache.get(silence)) is not None and now < silent_until:
            continue
        names = [_name(place, key) for place, key in asked.items()]
        try:
            answered |= _answer(catalog_uuid, asked, timedelta(seconds=left), now=now)
        except CatalogTooSlow:
            _suspect([_slow(name) for name in names], now=now)
        except CatalogUnavailable:
            # For a moment nobody else waits for it.
            cache.set(silence, now + SILENT_FOR, timeout=SILENT_FOR.total_seconds())
        else:
            cache.delete_many(map(_slow, names))
    return answered


def _suspect(marks: Sequence[str], *, now: datetime) -> None:
    """Remember what was too slow, and until when it rests: not at all, if others were asked for with it."""
    again = bool(cache.get_many(marks))
    rest = timedelta(0) if len(marks) > 1 else RESTS_FOR if again else SILENT_FOR
    cache.set_many(dict.fromkeys(marks, now + rest), timeout=SUSPECTED_FOR.total_seconds())


def _questions(wanted: LookupKeys, *, now: datetime) -> Iterator[tuple[UUID, LookupKeys, float]]:
    """Yield catalog, what to ask it for, and the share of the time left that it may take.

    What was too slow comes last, each alone, and leaves half of the time to those after it.
    """
    marks = {place: _slow(_name(place, asked)) for place, asked in wanted.items()}
    found: Mapping[str, datetime] = cache.get_many(marks.values())
    slow = {place: found[mark] for place, mark in marks.items() if mark in found}
    places_of: dict[UUID, list[CatalogKey]] = defaultdict(list)
    for place in wanted.keys() - slow.keys():
        places_of[place.catalog_uuid].append(place)
    for catalog_uuid, places in places_of.items():
        for batch in chunks(sorted(places), BATCH):
            yield catalog_uuid, {place: wanted[place] for place in batch}, 1
    alone = sorted((place for place in slow if slow[place] <= now), key=lambda one: (slow[one], one))
    for place in alone:
        yield place.catalog_uuid, {place: wanted[place]}, 0.5 if place != alone[-1] else 1


def _answer(catalog_uuid: UUID, wanted: LookupKeys, within: timedelta, *, now: datetime) -> KnownContent:
    keys = sorted(set(wanted.values()))
    elements = refresh.configured_source().fetch(catalog_uuid, keys=keys, within=within)
    contents, withheld = _read(elements, now=now)
    return {
        place: contents.get(place.content_key)
        for place, asked_for in wanted.items()
        if place.content_key in contents or not withheld & {place.content_key, asked_for}
    }


def _read(elements: Sequence[object], *, now: datetime) -> tuple[dict[str, UpstreamContent], set[str]]:
    """Return the usable records by key, runs too, and the keys of records that cannot be used."""
    records: list[parser.Content] = []
    withheld: set[str] = set()
    for raw in elements:
        try:
            records.append(parser.parse(raw))
        except parser.UnusableRecord as bad:
            if bad.content_key:  # it is there, whatever is wrong with it
                withheld.add(bad.content_key)
    chosen, _lost = merge.choose_records(records)
    return {key: _content(one, now=now) for key, one in chosen.items()}, withheld


def _content(content: parser.Content, *, now: datetime) -> UpstreamContent:
    columns = merge.columns(content)
    return UpstreamContent(
        content_key=content.content_key,
        content_type=content.content_type.value,
        parent_content_key=content.parent_key or "",
        checked_at=now,
        run_keys=tuple(run.content_key for run in content.runs),
        **{name: columns[name] for name in _OF_THE_COLUMNS},
    )


_OF_THE_COLUMNS: Iterable[str] = tuple(set(UpstreamContent.__dataclass_fields__) & set(merge.COLUMNS))


def _deadline() -> float:
    seconds: float = settings.CONTENT_READ_DEADLINE.total_seconds()
    return seconds


def _name(place: CatalogKey, asked: str) -> str:
    """Keys may have spaces and any length; names in a cache may not."""
    digest = sha256("\0".join((place.content_key, asked)).encode(errors="surrogatepass")).hexdigest()
    return f"bursary.content.{place.catalog_uuid.hex}.{digest}"


def _flight(name: str) -> str:
    return f"{name}.asked"


def _slow(name: str) -> str:
    return f"{name}.slow"
