"""What a refresh costs, after upstream has answered, against SQL by hand on records that are parsed already.

The floor reads what the replica has, writes what is new or differs by one guarded upsert, confirms the rest
by one statement, and keeps memberships and the history of changes; a transaction for each answer, as ours.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction

from bench.dialects import HERE
from bench.refresh_memory import Catalog
from bench.scales import Scale
from bench.stage import Case, Way
from bursary.catalog import parser, payload
from bursary.catalog.records import Content, ContentType
from bursary.lib.batches import chunks
from bursary.replica import ingest, merge, schedule, unchanged
from bursary.replica.merge import FetchContext
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata, RefreshTrigger
from tests import world

_CONTENT, _MEMBERS = ContentMetadata._meta.db_table, CatalogMembership._meta.db_table
_CHANGES = ContentChange._meta.db_table
_REWRITTEN = (
    *("parent_key", *merge.COLUMNS, "payload", "digest", "fetched_from", "upstream_modified", "fetched_at"),
    *("changed_at", "source", "checked_at", "fresh_until", "due_at", "early", "failures", "last_error"),
    *("quarantined_digest", "served_digest", "served_digest_at"),
)
_NOT_IN_HISTORY = {"uuid", "partner_names"}

_UNCHANGED = (
    "The database, half of it: as in the floor, a row is read under its lock, and it and its membership are"
    " written; beyond the floor, memberships are read, and each row's schedule is compared. Then passing four"
    " statements and their rows through the driver and the ORM. Their SQL is kept, and nothing is parsed."
    " Of some 50 ms for 200 courses with their runs, PostgreSQL takes 30, the floor's 22, and Python 20, the"
    " floor's 8: a quarter of it for the digests of what was served, which the floor is given, a twelfth to"
    " find each record's keys, and a fifth each for the reads and the writes."
)

_TWICE = (
    "Then the database: a row is read under its lock by all that is compared, and written twice, with its"
    " content and with its schedule. Of some 240 ms for 200 courses with their runs, PostgreSQL takes 101,"
    " the floor's 59; Python takes 136, the floor's 63, and parsing is 23 of the difference of 73."
)

_firsts = itertools.count(0, 100_000)
_hours = itertools.count(1)


@dataclass(frozen=True)
class Fetch:
    """What one refresh was answered: as it came, and parsed, as rows for the floor."""

    raw: Sequence[Sequence[object]]
    rows: Sequence[Sequence[Mapping[str, Any]]]
    via_course: Mapping[str, str]
    context: FetchContext


def fetched(numbers: Sequence[int], *, title: str, now: datetime | None = None) -> Fetch:
    """Return what upstream answers for these courses, later than anything before."""
    now = now or world.NOW + timedelta(hours=next(_hours))
    catalog = Catalog(max(numbers) + 1, title)
    context = FetchContext(world.CATALOG, f"bench:{world.CATALOG}", now, RefreshTrigger.CRON)
    raw = [[catalog.course(number) for number in batch] for batch in chunks(numbers, ingest.BATCH)]
    rows: list[list[dict[str, Any]]] = []
    via_course: dict[str, str] = {}
    for batch in raw:
        found = [
            (one, payload.served_digest(served, code=unchanged.code_digest()))
            for served in batch
            for course in [parser.parse(served)]
            for one in (course, *course.runs)
        ]
        via_course |= {one.content_key: one.parent_key or "" for one, _digest in found}
        rows.append([_row(one, digest=digest, context=context) for one, digest in found])
    return Fetch(raw, rows, via_course, context)


def _row(content: Content, *, digest: str, context: FetchContext) -> dict[str, Any]:
    """Return a record's row, by column, as the database takes it; `digest` is the whole record's."""
    fresh_until = schedule.fresh_until(content, now=context.now)
    is_run = content.content_type is ContentType.COURSERUN
    row = ContentMetadata(
        content_key=content.content_key,
        variant=content.variant,
        content_type=content.content_type,
        parent_key=content.parent_key or "",
        payload=content.payload,
        digest=content.digest,
        served_digest=digest,
        served_digest_at=context.now,
        trigger=context.trigger,
        fetched_from=context.fetched_from,
        upstream_modified=content.upstream_modified,
        fetched_at=context.now,
        checked_at=context.now,
        changed_at=context.now,
        fresh_until=fresh_until,
        due_at=None if is_run else fresh_until,
        early=None if is_run else 0,
        **merge.column_values(content),
    )
    return prepared(row)


def prepared(row: Any) -> dict[str, Any]:
    """Return an unsaved row by column, as the database takes it."""
    fields = [one for one in row._meta.concrete_fields if not one.primary_key]
    return {str(one.column): one.get_db_prep_save(getattr(row, one.attname), connection) for one in fields}


def insert(table: str, rows: Sequence[Mapping[str, Any]], *, end: str = "") -> None:
    """Insert rows by one statement."""
    if rows:
        one = f"({', '.join(['%s'] * len(rows[0]))})"
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES {', '.join([one] * len(rows))} {end}",
                [value for row in rows for value in row.values()],
            )


def _upsert() -> str:
    """Return what ends the insert of content that may be there: newer content is not overwritten."""
    if connection.vendor == "mysql":
        return "ON DUPLICATE KEY UPDATE " + ", ".join(f"{name} = VALUES({name})" for name in _REWRITTEN)
    sets = ", ".join(f"{name} = excluded.{name}" for name in _REWRITTEN)
    guard = f"{_CONTENT}.checked_at <= excluded.checked_at"
    return f"ON CONFLICT (content_key, variant) DO UPDATE SET {sets} WHERE {guard}"


def raw(fetch: Fetch) -> None:
    """Store what was fetched, by hand."""
    for rows in fetch.rows:
        with transaction.atomic():
            _store(rows, fetch=fetch)


def _read(keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    names = ("id", "content_key", "digest", *merge.COLUMNS)
    marks = ", ".join(["%s"] * len(keys))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(names)} FROM {_CONTENT} WHERE content_key IN ({marks})"
            f" ORDER BY content_key, variant {HERE.locks}",
            keys,
        )
        return {row[1]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}


def _store(rows: Sequence[Mapping[str, Any]], *, fetch: Fetch) -> None:
    keys = [row["content_key"] for row in rows]
    before, now = _read(keys), connection.ops.adapt_datetimefield_value(fetch.context.now)
    written = [row for row in rows if before.get(row["content_key"], {}).get("digest") != row["digest"]]
    insert(_CONTENT, written, end=_upsert())
    changed = {row["content_key"] for row in written} & before.keys()
    if same := before.keys() - changed:
        _confirm([row for row in rows if row["content_key"] in same], before=before, fetch=fetch)
    if changed:
        _note(changed, before=before, fetch=fetch)
    new = {row["content_key"] for row in written} - before.keys()
    if new:
        ids = {key: row["id"] for key, row in _read(sorted(new)).items()}
        found_at = fetch.context.now
        member = {"catalog_uuid": fetch.context.catalog_uuid, "created": found_at, "seen_at": found_at}
        insert(
            _MEMBERS,
            [
                prepared(CatalogMembership(content_id=ids[key], via_course=fetch.via_course[key], **member))
                for key in ids
            ],
        )
    if before:
        uuid = CatalogMembership._meta.get_field("catalog_uuid").get_db_prep_save(
            fetch.context.catalog_uuid, connection
        )
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {_MEMBERS} SET seen_at = %s, missing_since = NULL"
                f" WHERE catalog_uuid = %s AND content_id IN ({_listed(before.values())}) AND seen_at < %s",
                [now, uuid, now],
            )


def _listed(rows: Any) -> str:
    return ", ".join(str(row["id"]) for row in rows)


def _confirm(
    rows: Sequence[Mapping[str, Any]], *, before: Mapping[str, Mapping[str, Any]], fetch: Fetch
) -> None:
    """Write that rows are as they were, one statement for each instant at which they are stale."""
    until: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        until.setdefault(row["fresh_until"], []).append(before[row["content_key"]])
    now = connection.ops.adapt_datetimefield_value(fetch.context.now)
    with connection.cursor() as cursor:
        for at, found in until.items():
            cursor.execute(
                f"UPDATE {_CONTENT} SET source = %s, checked_at = %s, served_digest_at = %s,"
                " fresh_until = %s, failures = 0,"
                " last_error = '', quarantined_digest = '',"
                " due_at = CASE WHEN content_type = 'courserun' AND due_at IS NULL THEN NULL ELSE %s END"
                f" WHERE id IN ({_listed(found)}) AND checked_at <= %s",
                [str(fetch.context.trigger), now, now, at, at, now],
            )


def _note(keys: set[str], *, before: Mapping[str, Mapping[str, Any]], fetch: Fetch) -> None:
    """Add to the history how rows differ."""
    after = _read(sorted(keys))
    insert(
        _CHANGES,
        [
            prepared(
                ContentChange(
                    content_id=after[key]["id"],
                    field=name,
                    old=before[key][name],
                    new=after[key][name],
                    trigger=fetch.context.trigger,
                    created=fetch.context.now,
                )
            )
            for key in sorted(keys)
            for name in merge.COLUMNS
            if name not in _NOT_IN_HISTORY and before[key][name] != after[key][name]
        ],
    )


def ours(fetch: Fetch) -> None:
    """Bring in what was fetched."""
    for batch in fetch.raw:
        report = ingest.ingest(batch, context=fetch.context)
        if report.unparsable_total or report.refused_older:
            raise RuntimeError(str(report))


def parse(fetch: Fetch) -> None:
    """Parse what was fetched, and no more: a part of `ours` and not of the floor."""
    for batch in fetch.raw:
        for one in batch:
            parser.parse(one)


def new(count: int) -> Fetch:
    """Return a fetch of courses that nothing has."""
    first = next(_firsts)
    return fetched(range(first, first + count), title="Course")


def again(known: Fetch, count: int, first: int, *, title: str = "") -> Fetch:
    """Return a later fetch of the same courses, which differ only by a title."""
    found = fetched(range(first, first + count), title=title or "Course")
    return replace(found, via_course=known.via_course)


def cases(scale: Scale) -> Iterator[Case]:
    """Yield the cases of a refresh."""
    count = scale.courses
    first = next(_firsts)
    known = fetched(range(first, first + count), title="Course")
    ours(known)
    titles = (f"Title {number}" for number in itertools.count())
    same = partial(again, known, count, first)
    limits = (
        "Parsing, which is no part of the floor, and making each row, history line and merge an object."
        " PostgreSQL is sent what a batch's rows share once; other engines prepare each value of each row."
    )
    yield Case("replica, parsing alone", Way(parse, same), size=count, limits="Checking each value's type.")
    yield Case("replica, new", *_ways(partial(new, count)), size=count, limits=limits, rounds=5)
    yield Case("replica, unchanged", *_ways(same), size=count, limits=_UNCHANGED)

    def changed() -> Fetch:
        return again(known, count, first, title=next(titles))

    yield Case("replica, changed", *_ways(changed), size=count, limits=f"{limits} {_TWICE}")
    last: list[str] = ["Course"]

    def renamed() -> Fetch:
        last[0] = next(titles)
        return again(known, count, first, title=last[0])

    yield Case(
        "replica, unchanged to changed",
        Way(ours, lambda: again(known, count, first, title=last[0])),
        Way(ours, renamed),
        size=count,
        limits=f"{_UNCHANGED} The floor is the same refresh with every title changed, ours.",
    )


def _ways(before: Any) -> tuple[Way, Way]:
    return Way(ours, before), Way(raw, before)
