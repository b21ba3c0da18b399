"""A catalog in memory, and recorded records to put into it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

from bursary.catalog import parser
from bursary.catalog.records import CatalogUnavailable, KeysToSkip

Record = dict[str, Any]

DATA = Path(__file__).parent.parent / "data"
CATALOG = UUID("11111111-1111-4111-8111-111111111111")
OTHER_CATALOG = UUID("22222222-2222-4222-8222-222222222222")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

COURSE = "GlobeX+C109"
RUNS = [f"course-v1:{COURSE}+{run}" for run in ("2T2024a", "2T2025b", "2T2027c")]
"""The last one is advertised."""
BEFORE = "2026-11-20T08:00:00Z"
SYNCED = "2026-11-21T23:02:22.952408Z"
"""When upstream last synced, by all records of the recorded courses."""
LATER = "2026-11-22T06:00:00Z"


class Listing:
    """A catalog of these records, which answers no more `silent_after` pages; `asked` are the keys."""

    name = "listing"

    def __init__(self, records: Iterable[object], *, silent_after: int | None = None) -> None:
        self.records = list(records)
        self.silent_after = silent_after
        self.asked: list[str] = []

    def pages(
        self, catalog_uuid: UUID, *, size: int, skip: KeysToSkip | None = None
    ) -> Iterator[Sequence[object]]:
        for number, start in enumerate(range(0, len(self.records), size)):
            self._answer(number)
            yield self.records[start : start + size]

    def fetch(
        self,
        catalog_uuid: UUID,
        *,
        keys: Sequence[str],
        timeout: timedelta | None = None,
    ) -> Sequence[object]:
        self._answer(0)
        self.asked.extend(keys)
        return [record for record in self.records if not set(keys).isdisjoint(parser.content_keys(record))]

    def _answer(self, page: int) -> None:
        if self.silent_after is not None and page >= self.silent_after:
            raise CatalogUnavailable("The catalog does not answer.")


def recorded(name: str) -> list[Record]:
    """Return the records of `tests/data/catalog-….jsonl`. Tests share them: copy to change."""
    return list(_decoded(name))


@cache
def _decoded(name: str) -> tuple[Record, ...]:
    with (DATA / f"catalog-{name}.jsonl").open(encoding="utf-8") as lines:
        return tuple(json.loads(line) for line in lines)


def a_course(*, synced: str = SYNCED, **changes: object) -> Record:
    """Return a full course with three runs, `synced` upstream at that instant; arguments replace fields."""
    return _one("courses", COURSE) | {"content_last_modified": synced} | changes


def a_thin_course(*, synced: str = SYNCED) -> Record:
    """Return the same course as upstream serves it before it has fetched the whole of it."""
    return _one("thin-courses", COURSE) | {"content_last_modified": synced}


def a_run(*, synced: str = SYNCED, **changes: object) -> Record:
    """Return the advertised run's own record, a search document."""
    return _one("other-types", RUNS[2]) | {"content_last_modified": synced} | changes


def enrolling_by(date: str, *, synced: str = SYNCED) -> Record:
    """Return the course, and its advertised run, with another end of enrolment."""
    course = deepcopy(a_course(synced=synced))
    course["normalized_metadata"]["enroll_by_date"] = date
    course["normalized_metadata_by_run"][RUNS[2]]["enroll_by_date"] = date
    return course


def _one(name: str, key: str) -> Record:
    [record] = [record for record in recorded(name) if record.get("key") == key]
    return record
