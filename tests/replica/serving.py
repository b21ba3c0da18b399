"""One upstream that serves each catalog other records, in a folder of JSONL files that tests edit."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from uuid import UUID

from pytest_django import Settings

from bursary.catalog import parser
from bursary.catalog.jsonl_source import FolderCatalog
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import CATALOG, DATA, OTHER_CATALOG, Record

ORDINARY, ALLOWED = CATALOG, OTHER_CATALOG
"""The catalogs of `tests/data/cases/restricted-….jsonl`."""
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PRIV, ONLY, MOVE = "PrivX+1", "OnlyX+1", "MoveX+1"
PUBLIC_RUN, PRIVATE_RUN = f"course-v1:{PRIV}+PUB", f"course-v1:{PRIV}+PRIV"


class Catalogs:
    """What upstream serves each catalog, by key. `write` makes it so."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.source = FolderCatalog(folder)
        self.records: dict[UUID, dict[str, Record]] = {
            catalog: {record["key"]: record for record in _case(name)}
            for catalog, name in ((ORDINARY, "ordinary"), (ALLOWED, "allowed"))
        }
        self.write()

    @classmethod
    def configured(cls, folder: Path, settings: Settings) -> Self:
        """Serve from a new folder, which the settings name."""
        settings.CATALOG_URL = folder.as_uri() + "/"
        return cls(folder)

    def write(self) -> None:
        for catalog, records in self.records.items():
            lines = [json.dumps(record) for record in records.values()]
            draft = self.folder / "draft"
            draft.write_text("\n".join(lines))
            draft.replace(self.folder / f"{catalog}.jsonl")

    def serve(self, catalog: UUID, record: Record) -> None:
        self.records[catalog][record["key"]] = deepcopy(record)
        self.write()

    def drop(self, catalog: UUID, key: str) -> Record:
        record = self.records[catalog].pop(key)
        self.write()
        return record

    def edit(self, key: str, **changes: object) -> None:
        """Change a course for every catalog that has it."""
        for records in self.records.values():
            if key in records:
                records[key] |= changes
        self.write()

    def before(self, key: str, **changes: object) -> FolderCatalog:
        """Return upstream as it was before a change of a course, for a fetch that was under way."""
        then = Catalogs(self.folder.parent / "before")
        then.records = deepcopy(self.records)
        then.edit(key, **changes)
        return then.source

    def sync(self, catalog: UUID, *, hours: float = 0) -> RefreshReport:
        return refresh.refresh_catalog(
            catalog, source=self.source, now=NOW + hours * HOUR, trigger=RefreshTrigger.CRON
        )

    def sync_both(self, *, hours: float = 0) -> None:
        for catalog in (ORDINARY, ALLOWED):
            self.sync(catalog, hours=hours)

    def contents(self, catalog: UUID) -> dict[str, parser.Content]:
        """Return the catalog's courses and runs by key, as it serves them."""
        courses = [parser.parse(record) for record in self.records[catalog].values()]
        return {one.content_key: one for course in courses for one in (course, *course.runs)}


def without_run(course: Record, key: str) -> Record:
    """Return a course's record without one of its runs."""
    runs = [run for run in course["course_runs"] if run["key"] != key]
    terms = {run: terms for run, terms in course["normalized_metadata_by_run"].items() if run != key}
    return course | {"course_runs": runs, "normalized_metadata_by_run": terms}


def row_of(catalog: UUID, key: str) -> ContentMetadata:
    """Return the row of the key that the catalog holds."""
    return ContentMetadata.objects.get(content_key=key, memberships__catalog_uuid=catalog)


def _case(name: str) -> list[Record]:
    lines = (DATA / "cases" / f"restricted-{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
