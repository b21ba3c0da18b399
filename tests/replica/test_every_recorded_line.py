"""Every recorded line comes in over HTTP, and the rows say what the line says: read here from plain JSON."""

import json
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from bursary.catalog import payload as payloads
from bursary.replica import reads, refresh
from bursary.replica.models import Completeness, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.enterprise_catalog.database import content_key
from tests.enterprise_catalog.server import CATALOG, enterprise_catalog
from tests.replica.listing import DATA, NOW, Record, recorded
from tests.replica.replicated import over_http, runs_of

pytestmark = pytest.mark.django_db

HOSTILE = [json.loads(line) for line in (DATA / "catalog-hostile.jsonl").read_text().splitlines()]
CASES = json.loads((DATA / "catalog-hostile.index.json").read_text())


def replicated(records: list[Record]) -> tuple[RefreshReport, dict[str, ContentMetadata]]:
    with enterprise_catalog(records) as upstream:
        report = refresh.refresh_catalog(
            CATALOG, source=over_http(upstream), now=NOW, trigger=RefreshTrigger.CRON
        )
    return report, {row.content_key: row for row in ContentMetadata.objects.all()}


def served(row: ContentMetadata) -> dict[str, object]:
    return reads.served_record(row, catalogs=[CATALOG])


def instant(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def cents(value: float | None) -> int | None:
    return None if value is None else int(Decimal(str(value)) * 100)


@pytest.mark.on_every_engine
def test_every_recorded_course_is_in_the_replica_as_upstream_says_it() -> None:
    # How a line is read is decided in Python. Servers store one of four, and give it back.
    records = recorded("courses")[:: 1 if connection.vendor == "sqlite" else 4]
    report, rows = replicated(records)

    assert (report.records, report.unparsable_total) == (len(records), 0)
    assert len(records) in (50, 200)
    for record in records:
        row, terms = rows[record["key"]], record["normalized_metadata"]
        assert (row.title, str(row.uuid), row.active) == (record["title"], record["uuid"], record["active"])
        assert (row.course_type, served(row)) == (record["course_type"], record)
        assert row.start_date == instant(terms["start_date"])
        assert row.end_date == instant(terms["end_date"])
        assert row.enroll_start == instant(terms["enroll_start_date"])
        assert row.enroll_by == instant(terms["enroll_by_date"])
        if terms["content_price"]:  # upstream says 0.0 for unknown as well: tests/catalog has those
            assert row.price_cents == cents(terms["content_price"])
        assert row.upstream_modified == instant(record["content_last_modified"])
        _check_runs(record, rows)


def _check_runs(record: Record, rows: dict[str, ContentMetadata]) -> None:
    for run in record["course_runs"]:
        row, terms = rows[run["key"]], record["normalized_metadata_by_run"][run["key"]]
        assert row.parent_key == record["key"]
        assert (row.title, str(row.uuid), served(row)) == (run["title"], run["uuid"], run)
        assert row.enroll_by == instant(terms["enroll_by_date"])
        assert row.start_date == instant(terms["start_date"])


def test_every_recorded_run_program_and_pathway_is_in_the_replica_as_upstream_says_it() -> None:
    records = recorded("other-types")
    report, rows = replicated(records)

    assert (report.records, len(rows), report.unparsable_total) == (235, 235, 0)
    for record in records:
        row = rows[content_key(record)]
        assert (row.content_type, row.title) == (record["content_type"], record["title"])
        assert served(row) == record
        assert row.upstream_modified == instant(record["content_last_modified"])
        if record["content_type"] == "courserun":
            assert (row.start_date, row.end_date) == (instant(record["start"]), instant(record["end"]))
            assert row.enroll_by == instant(record["enrollment_end"])
        else:
            assert str(row.uuid) == record["uuid"]


def test_every_thin_course_is_in_the_replica_without_a_price() -> None:
    records = recorded("thin-courses")
    report, rows = replicated(records)

    assert (report.records, report.unparsable_total) == (20, 0)
    for record in records:
        row = rows[record["key"]]
        assert (row.title, row.completeness, row.price_cents) == (record["title"], Completeness.THIN, None)
        # A thin record does not say which runs the catalog holds, nor which links are theirs.
        runs = payloads.without_links(record)["course_runs"]
        assert served(row) == record | {"course_runs": runs}
        assert {run["key"] for run in record["course_runs"]} <= rows.keys()


Check = Callable[[ContentMetadata, Record], Any]


def dates_of(row: ContentMetadata) -> set[datetime | None]:
    return {row.start_date, row.end_date, row.enroll_start, row.enroll_by}


def _kept_in_its_newer_copy(row: ContentMetadata, _line: Record) -> bool:
    return row.upstream_modified == instant(HOSTILE[8]["content_last_modified"])


SENSIBLE: dict[str, Check] = {
    "missing-dates": lambda row, _line: dates_of(row) == {None},
    "all-date-formats": lambda row, _line: runs_of(row).exclude(start_date=None).count() == 9,
    "null-price": lambda row, _line: row.price_cents is None,
    "string-price": lambda row, _line: row.price_cents == 14_950,
    "no-runs": lambda row, _line: (runs_of(row).count(), row.price_cents) == (0, None),
    "advertised-run-missing": lambda row, _line: (row.advertised_run, row.price_cents) == ("", None),
    "title-600-chars": lambda row, line: row.title == line["title"] and len(row.title) == 600,
    "unicode-rtl": lambda row, line: row.title == line["title"],
    "duplicate-newer": _kept_in_its_newer_copy,
    "duplicate-older": _kept_in_its_newer_copy,
    "exec-ed-additional-metadata": lambda row, _line: (
        (row.price_cents, row.product_source) == (290_000, "2u")
    ),
    "archived-runs-only": lambda row, _line: (row.active, row.gone_at) == (False, None),
    "dates-1970-2099": lambda row, _line: any(date and date.year in (1970, 2099) for date in dates_of(row)),
    "negative-price": lambda row, _line: row.price_cents is None,
    "html-in-title": lambda row, line: row.title == line["title"] and "<" in row.title,
}


@pytest.mark.on_every_engine
def test_every_hostile_line_ends_as_its_index_says() -> None:
    report, rows = replicated(HOSTILE)

    assert len(CASES) == len(HOSTILE)
    assert {case["case"] for case in CASES} == {*SENSIBLE, "unknown-content-type"}
    [unusable] = report.unparsable
    assert (unusable.key, unusable.reason) == ("HostileX+H10", "unknown_content_type")
    assert "HostileX+H10" not in rows
    for case in CASES:
        if case["case"] != "unknown-content-type":
            line = HOSTILE[case["line"] - 1]
            assert SENSIBLE[case["case"]](rows[case["key"]], line), case["case"]
