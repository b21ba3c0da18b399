"""What enterprise-catalog was seen to hold and to answer: rows, catalogs, and which key brings what.

Rows are never deleted. Syncs stamp every row, changed or not. A course is listed while learners can enrol. A
row has all runs of its course; a catalog is served it without the restricted runs that it does not allow.
"""

import random
from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from threading import RLock
from uuid import UUID

from tests.enterprise_catalog import views
from tests.enterprise_catalog.views import Record as Record
from tests.enterprise_catalog.views import as_served, restricted_runs, runs_of

SYNCED = datetime(2026, 11, 21, 23, 2, 22, 952408, tzinfo=UTC)
GUARDED_MEMBERS = 50
GUARDED_CHANGE = 0.8


def content_key(record: Record) -> str:
    """Return what a record is known by: a program and a pathway have no `key`."""
    return str(record["key"] if "key" in record else record["uuid"])


class CatalogDatabase:
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
        self._own: dict[tuple[str, str], Record] = {}
        self._allowed: dict[str, set[str]] = {}
        self._once_allowed: dict[str, set[str]] = {}
        self._old_keys: dict[str, Record] = {}

    # -- What tests change ----------------------------------------------------------------------------------

    def put(self, record: Record, *, catalogs: Iterable[str]) -> None:
        """Add a record, or replace the rows of its key, as a sync would."""
        with self._lock:
            self._rows[content_key(record)] = [deepcopy(record)]
            for catalog in catalogs:
                self._members[catalog].add(content_key(record))
                self._own.pop((catalog, content_key(record)), None)

    def serve(self, catalog: UUID | str, records: Iterable[Record]) -> None:
        """Serve this catalog these records, as they are, whatever others are served of the same keys.

        The restricted runs that they name are the ones which the catalog allows. The catalog may be new.
        """
        with self._lock:
            for record in records:
                key, allowed = content_key(record), restricted_runs(record)
                self._own[str(catalog), key] = deepcopy(record)
                self._rows.setdefault(key, [deepcopy(as_served(record, allowed=()))])
                self._members.setdefault(str(catalog), set()).add(key)
                self._allowed.setdefault(str(catalog), set()).update(allowed)

    def allow_restricted(self, catalog: UUID | str, run_key: str) -> None:
        """Let the catalog's query allow a restricted run: it is served the record that names it."""
        with self._lock:
            self._allowed.setdefault(str(catalog), set()).add(run_key)

    def withdraw_restricted(self, catalog: UUID | str, run_key: str) -> None:
        """Let the catalog's query no longer allow it: it is out of the record, and still contained."""
        with self._lock:
            self._allowed[str(catalog)].remove(run_key)
            self._once_allowed.setdefault(str(catalog), set()).add(run_key)

    def force_include(self, record: Record, *, catalogs: Iterable[str]) -> None:
        """Put a course into catalogs that their queries do not find, as an operator does."""
        self.put(views.force_included(record), catalogs=catalogs)

    def rename_key(self, old: str, new: str) -> None:
        """Give a course another key; uuid and runs stay. The old row is in no catalog any more."""
        with self._lock:
            self._old_keys[old] = self._rows[old][0]
            everything = [
                (key, views.renamed(row, old, new)) for key, rows in self._rows.items() for row in rows
            ]
            self._rows = {}
            for key, row in everything:
                self._rows.setdefault(new if key == old else key, []).append(row)
            self._own = {
                (catalog, new if key == old else key): views.renamed(row, old, new)
                for (catalog, key), row in self._own.items()
            }
            for members in self._members.values():
                if old in members:
                    members.symmetric_difference_update((old, new))

    def edit(self, key: str, **changes: object) -> None:
        """Change fields of the record."""
        with self._lock:
            for row in self._every_row(key):
                row.update(deepcopy(changes))

    def sync(self) -> None:
        """Stamp every row, an hour after the sync before, and change nothing else."""
        with self._lock:
            self._synced += timedelta(hours=1)
            stamp = self._synced.isoformat().replace("+00:00", "Z")
            for row in self._every_row():
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
        """Return the keys that the catalog lists, inactive courses among them and restricted runs not."""
        with self._lock:
            if catalog in self._without_query:
                return set()
            return {key for key in self._members[catalog] if not self._rows[key][0].get("restriction_type")}

    def has_query(self, catalog: str) -> bool:
        return catalog not in self._without_query

    def listing(self, catalog: str) -> list[Record]:
        """Return what an unfiltered listing shows, in no order: courses closed to enrolment are left out."""
        with self._lock:
            rows = [row for key in self.members(catalog) for row in self._served(catalog, key)]
            return self._shuffled(row for row in rows if row.get("active") is not False)

    def by_keys(self, catalog: str, asked: Collection[str]) -> list[Record]:
        """Return what these keys bring, inactive or not, each row once.

        A course brings itself and those of its runs that the catalog holds as records. A run brings its
        course and itself. It is found by its own row, so an expired one, that has none, brings nothing. A
        restricted run brings its course where the catalog allows it, or has once allowed it.
        """
        with self._lock:
            members, course_of = self.members(catalog), self._course_of(catalog)
            run_records = self._run_records()
            found: set[str] = set()
            for key in asked:
                found |= {key, course_of.get(key, key)} & members
                found |= {run for run, parent in run_records if parent == key} & members
            return self._shuffled(row for key in sorted(found) for row in self._served(catalog, key))

    def anywhere(self, identifier: str) -> list[Record]:
        """Return the row of a key or a uuid, a restricted run's too, whatever catalog it is in, if any."""
        with self._lock:
            rows = [row for key, rows in self._rows.items() for row in rows if key == identifier]
            rows += [row for rows in self._rows.values() for row in rows if row.get("uuid") == identifier]
            rows += filter(None, [self._old_keys.get(identifier)])
            rows += [
                views.search_document(row, identifier)
                for row in self._every_row()
                if identifier in restricted_runs(row)
            ]
            return deepcopy([as_served(row, allowed=()) for row in rows[:1]])

    def updated(self, catalog: str) -> Mapping[str, object]:
        """Return when each member was last stamped."""
        with self._lock:
            return {
                key: self._served(catalog, key)[0].get("content_last_modified")
                for key in self.members(catalog)
            }

    def _every_row(self, key: str | None = None) -> list[Record]:
        """Return all rows, or those of a key, the ones that are one catalog's own among them."""
        rows = [row for known, rows in self._rows.items() for row in rows if key in (None, known)]
        return rows + [row for (_catalog, known), row in self._own.items() if key in (None, known)]

    def _served(self, catalog: str, key: str) -> list[Record]:
        """Return the rows of a key as the catalog is served them."""
        own, allowed = self._own.get((catalog, key)), self._allowed.get(catalog, set())
        rows = self._rows[key] if own is None else [own]
        return [as_served(row, allowed=allowed) for row in rows]

    def _course_of(self, catalog: str) -> dict[str, str]:
        """Return the course of each run that has a row of its own: upstream marks it in its course.

        Restricted runs have one, and only the catalogs that ever allowed them are answered by it.
        """
        reached = self._allowed.get(catalog, set()) | self._once_allowed.get(catalog, set())
        courses = dict(self._run_records())
        for row in self._every_row():
            for run in runs_of(row):
                if run.get("restriction_type"):
                    courses.pop(run["key"], None)
                    if run["key"] in reached:
                        courses[run["key"]] = content_key(row)
                elif run.get("parent_content_key"):
                    courses.setdefault(run["key"], run["parent_content_key"])
        return courses

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
