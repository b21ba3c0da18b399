"""Confirms records that are served as they were when their rows were merged, without parsing them.

A row keeps the digest of the whole record that it was merged from (`served_digest`), a run's row that of its
course's record. If a record has the same digest again, and neither its rows nor their memberships have
changed since, a merge would change nothing: one statement confirms the rows, another the memberships. In any
doubt, the record is merged (decision 0029).
"""

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import django
import pydantic
from django.db.models import Q, QuerySet

from bursary.catalog import parser, payload, values
from bursary.catalog.records import ContentType
from bursary.lib.locks import locked_in_order
from bursary.lib.prepared import Parameter, PreparedSelect
from bursary.lib.retries import in_transaction
from bursary.replica import membership, schedule
from bursary.replica.merge import FetchContext
from bursary.replica.models import CatalogMembership, ContentMetadata

_READERS = (Path(parser.__file__).parent, Path(__file__).parent)
"""The packages that parse and merge records."""


@dataclass(frozen=True, slots=True)
class _Served:
    """A record as served: its digest, its keys, and what the digest leaves out, by key of course or run."""

    digest: str
    keys: tuple[str, ...]
    """The record's own key, and then those of its runs."""
    links: Mapping[str, payload.Links]
    modified: datetime | None


class _Row(NamedTuple):
    """A row of the batch's keys, locked."""

    pk: int
    content_key: str
    served_digest: str
    fetched_from: str
    upstream_modified: datetime | None
    completeness: str
    active: bool
    start_date: datetime | None
    enroll_by: datetime | None
    served_digest_at: datetime | None
    checked_at: datetime
    gone_at: datetime | None

    def digest_is_current(self, now: datetime) -> bool:
        """Return whether its digest was written with its last check, not after `now`, and it is not gone."""
        return self.served_digest_at == self.checked_at <= now and self.gone_at is None


class _Membership(NamedTuple):
    """A membership of the catalog: a row that it holds."""

    content: int
    via_course: str
    seen_at: datetime
    links: payload.Links


def confirm_records(
    batch: Sequence[object], *, context: FetchContext
) -> tuple[dict[int, int], dict[str, str]]:
    """Confirm unchanged records; return the number of rows of each by its position, and all digests.

    The digests are those of the records as served, by their keys and by those of their runs.
    """
    keyed = [(raw, parser.content_keys(raw)) for raw in batch]
    found = {position: one for position, (raw, keys) in enumerate(keyed) if (one := _served(raw, keys))}
    names = [_names(raw, keys) for raw, keys in keyed]
    named = Counter(chain.from_iterable(names))
    distinct = {
        position: one
        for position, one in found.items()
        # Of two records about one key, or one course, the merge decides.
        if all(named[name] == 1 for name in names[position])
    }
    digests = {key: one.digest for one in distinct.values() for key in one.keys}
    if not distinct or context.merge_unchanged:
        return {}, digests
    return in_transaction(lambda: _confirm(distinct, context=context)), digests


@cache
def code_digest() -> str:
    """Return a digest of the code that parses and merges records.

    It is part of a served digest, so that records are merged again after an update that may read them
    differently.
    """
    found = hashlib.sha256(repr((sys.version_info[:3], django.VERSION, pydantic.VERSION)).encode())
    for path in sorted(path for folder in _READERS for path in folder.glob("*.py*")):
        found.update(path.read_bytes())
    return found.hexdigest()


def _names(raw: object, keys: tuple[str, ...]) -> Iterable[str]:
    """Return the keys of a record, and its uuid, by which a renamed course is found."""
    uuid = raw.get("uuid") if isinstance(raw, dict) else None
    return (*keys, f"uuid {uuid.lower()}") if isinstance(uuid, str) and uuid not in keys else keys


def _served(raw: object, keys: tuple[str, ...]) -> _Served | None:
    """Return the compared parts of a record; None for one without a key, or a run's own, always a summary."""
    if not keys or not isinstance(raw, dict) or raw.get("content_type") == ContentType.COURSERUN:
        return None
    digest = payload.served_digest(raw, code=code_digest())
    if not digest:
        return None
    links = {keys[0]: payload.own_links(raw)}
    for run in raw["course_runs"] if keys[1:] else ():
        if isinstance(run, dict) and run.get("key") in keys[1:]:  # of several with one key, the first
            links.setdefault(str(run["key"]), payload.own_links(run))
    try:
        modified = values.instant(raw.get("content_last_modified"))
    except values.UnusableValue:
        modified = None
    return _Served(digest, keys, links, modified)


def _confirm(served: Mapping[int, _Served], *, context: FetchContext) -> dict[int, int]:
    keys = {key for one in served.values() for key in one.keys}
    locked = [_Row._make(row) for row in _of_keys.read(keys=sorted(keys))]  # of any variant
    rows = {(row.content_key, row.served_digest): row for row in locked if row.digest_is_current(context.now)}
    candidates = {
        position: [rows[key, one.digest] for key in one.keys]
        for position, one in served.items()
        if all((key, one.digest) in rows for key in one.keys)
    }
    if not candidates:
        return {}
    held, named = _held(locked, [served[position].keys[0] for position in candidates], context=context)
    found = {
        position: its_rows
        for position, its_rows in candidates.items()
        if _is_unchanged(served[position], its_rows, held=held, named=named, context=context)
    }
    if found:
        _write(found, served, context=context)
    return {position: len(its_rows) for position, its_rows in found.items()}


@PreparedSelect
def _of_keys() -> QuerySet[ContentMetadata, Any]:
    keys = Parameter("keys", ContentMetadata._meta.get_field("content_key"))
    rows = locked_in_order(ContentMetadata.objects.filter(content_key__in=keys))
    return rows.values_list(*_Row._fields)


def _held(
    rows: Sequence[_Row], courses: Sequence[str], *, context: FetchContext
) -> tuple[dict[int, _Membership], dict[str, set[int]]]:
    """Return the catalog's memberships of these rows, and by course those of all of its runs.

    Of a key that it holds by two rows, the merge leaves one: both are left out.
    """
    keys = {row.pk: row.content_key for row in rows}
    members = _memberships.read(catalog=context.catalog_uuid, contents=list(keys), courses=courses)
    held: dict[int, _Membership] = {}
    named: dict[str, set[int]] = defaultdict(set)
    for one in map(_Membership._make, members):
        held[one.content] = one
        named[one.via_course].add(one.content)
    times = Counter(keys[pk] for pk in held if pk in keys)
    return {pk: one for pk, one in held.items() if times[keys.get(pk, "")] == 1}, named


@PreparedSelect
def _memberships() -> QuerySet[CatalogMembership, Any]:
    field = CatalogMembership._meta.get_field
    either = Q(content__in=Parameter("contents", ContentMetadata._meta.pk))
    either |= Q(via_course__in=Parameter("courses", field("via_course")))
    members = CatalogMembership.objects.filter(
        either, catalog_uuid=Parameter("catalog", field("catalog_uuid"))
    )
    return members.values_list(*_Membership._fields)


def _is_unchanged(
    one: _Served,
    rows: Sequence[_Row],
    *,
    held: Mapping[int, _Membership],
    named: Mapping[str, set[int]],
    context: FetchContext,
) -> bool:
    """Return whether a merge would find nothing to change, by what is left out of the digests."""
    course, *runs = rows
    key = course.content_key
    return (
        all(
            row.pk in held
            and held[row.pk].seen_at <= context.now
            and one.links[row.content_key] in ({}, held[row.pk].links)
            and not _is_older(one, row, context=context)
            for row in rows
        )
        and not held[course.pk].via_course
        and all(held[run.pk].via_course in ("", key) for run in runs)
        and named.get(key, set()) <= {run.pk for run in runs}
    )


def _is_older(one: _Served, row: _Row, *, context: FetchContext) -> bool:
    return bool(
        row.fetched_from == context.fetched_from
        and one.modified
        and row.upstream_modified
        and one.modified < row.upstream_modified
    )


def _write(
    found: Mapping[int, Sequence[_Row]], served: Mapping[int, _Served], *, context: FetchContext
) -> None:
    until: dict[datetime, list[int]] = defaultdict(list)
    modified_times: dict[datetime, list[int]] = defaultdict(list)
    for position, rows in found.items():
        modified = served[position].modified
        course = rows[0]
        for row in rows:
            dated = rows if row is course else [row]  # a course is as urgent as its runs
            dates = (date for one in dated for date in (one.start_date, one.enroll_by))
            kind = schedule.freshness_kind(row.completeness, row.active, dates, now=context.now)
            until[context.now + schedule.fresh_for(kind)].append(row.pk)
            if modified and row.fetched_from == context.fetched_from and row.upstream_modified != modified:
                modified_times[modified].append(row.pk)
    schedule.confirm_rows(
        until,
        changed=(),
        modified_times=modified_times,
        served_digests={},
        now=context.now,
        trigger=context.trigger,
    )
    membership.note_seen([row.pk for rows in found.values() for row in rows], context=context)
