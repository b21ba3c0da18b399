"""What enterprise-catalog was seen to hold and to answer: rows, catalogs, and which key brings what.

Rows are never deleted. Syncs stamp every row, changed or not. A course is listed while learners can enrol.
"""

import random
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

Record = dict[str, Any]

SYNCED = datetime(2026, 11, 21, 23, 2, 22, 952408, tzinfo=UTC)
GUARDED_MEMBERS = 50
GUARDED_CHANGE = 0.8


def content_key(record: Record) -> str:
    """Return what a record is known by: a program and a pathway have no `key`."""
    return str(record["key"] if "key" in record else record["uuid"])


class Shelf:
    """The rows, and which catalog holds which of them. Shared by threads."""

    def __init__(self, records: Iterable[Record], catalogs: Iterable[str]) -> None:
        self._lock = RLock()
        self._random = random.Random(0)  # an order to be surprised by, no secret
        self._rows: dict[str, list[Record]] = {}
        self._synced = SYNCED
        for record in records:
            self._rows.setdefault(content_key(record), []).append(deepcopy(record))
        self._members = {catalog: set(self._rows) for catalog in catalogs}
        self._without_query: set[str] = set()

    # -- What tests change ----------------------------------------------------------------------------------

    def put(self, record: Record, *, catalogs: Iterable[str]) -> None:
        """Add a record, or replace the rows of its key, as a sync would."""
        with self._lock:
            self._rows[content_key(record)] = [deepcopy(record)]
            for catalog in catalogs:
                self._members[catalog].add(content_key(record))

    def edit(self, key: str, **changes: object) -> None:
        """Change fields of the record."""
        with self._lock:
            for row in self._rows[key]:
                row.update(deepcopy(changes))

    def sync(self) -> None:
        """Stamp every row, an hour after the sync before, and change nothing else."""
        with self._lock:
            self._synced += timedelta(hours=1)
            stamp = self._synced.isoformat().replace("+00:00", "Z")
            for row in (row for rows in self._rows.values() for row in rows):
                row["content_last_modified"] = stamp

    def query_finds(self, catalog: str, keys: Collection[str]) -> bool:
        """Let the catalog's query find these keys at a sync; return whether upstream's guards let it through.

        Nothing found changes nothing, and neither does a change of more than four fifths of a large catalog.
        """
        with self._lock:
            before, after = self._members[catalog], set(keys)
            change = abs(len(after) - len(before)) / len(before) if before else 0.0
            if not after or (len(before) > GUARDED_MEMBERS and change > GUARDED_CHANGE):
                return False
            self._members[catalog] = after
            return True

    def remove(self, key: str, *, catalog: str) -> None:
        """Take the record out of a catalog. Its row stays, frozen."""
        with self._lock:
            self._members[catalog].discard(key)

    def drop_query(self, catalog: str) -> None:
        """Leave the catalog without a query: it exists and holds nothing."""
        self._without_query.add(catalog)

    # -- What upstream answers ------------------------------------------------------------------------------

    def knows(self, catalog: str) -> bool:
        return catalog in self._members

    def members(self, catalog: str) -> set[str]:
        """Return the keys that the catalog holds, inactive courses among them."""
        with self._lock:
            return set() if catalog in self._without_query else set(self._members[catalog])

    def listing(self, catalog: str) -> list[Record]:
        """Return what an unfiltered listing shows, in no order: courses closed to enrolment are left out."""
        with self._lock:
            rows = [row for key in self.members(catalog) for row in self._rows[key]]
            return self._shuffled(row for row in rows if row.get("active") is not False)

    def by_keys(self, catalog: str, asked: Collection[str]) -> list[Record]:
        """Return what these keys bring, inactive or not, each row once.

        A course brings itself and those of its runs that the catalog holds as records. A run brings its
        course and itself. It is found by its own row, so an expired one, that has none, brings nothing.
        """
        with self._lock:
            members, course_of, run_records = self.members(catalog), self._course_of(), self._run_records()
            found: set[str] = set()
            for key in asked:
                found |= {key, course_of.get(key, key)} & members
                found |= {run for run, parent in run_records if parent == key} & members
            return self._shuffled(row for key in sorted(found) for row in self._rows[key])

    def anywhere(self, identifier: str) -> list[Record]:
        """Return the rows of a key or a uuid, whatever catalog holds them, if any does."""
        with self._lock:
            rows = [row for key, rows in self._rows.items() for row in rows if key == identifier]
            rows += [row for rows in self._rows.values() for row in rows if row.get("uuid") == identifier]
            return deepcopy(rows[:1])

    def updated(self, catalog: str) -> Mapping[str, object]:
        """Return when each member was last stamped."""
        with self._lock:
            return {key: self._rows[key][0].get("content_last_modified") for key in self.members(catalog)}

    def _course_of(self) -> dict[str, str]:
        """Return the course of each run that has a row of its own: upstream marks it in its course."""
        nested = {
            run["key"]: run["parent_content_key"]
            for rows in self._rows.values()
            for row in rows
            for run in row.get("course_runs") or ()
            if isinstance(run, dict) and run.get("parent_content_key") and run.get("key")
        }
        return nested | dict(self._run_records())

    def _run_records(self) -> list[tuple[str, str]]:
        return [
            (key, str(row.get("parent_content_key")))
            for key, rows in self._rows.items()
            for row in rows
            if row.get("content_type") == "courserun"
        ]

    def _shuffled(self, rows: Iterable[Record]) -> list[Record]:
        copies = deepcopy(list(rows))
        self._random.shuffle(copies)
        return copies
