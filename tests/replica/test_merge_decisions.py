"""What is decided about a record and a row that are given as values, without a database."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from bursary.catalog import parser
from bursary.catalog.records import Completeness, Content
from bursary.replica import merge
from bursary.replica.merge import FetchContext, MergeDecision, StoredContent
from bursary.replica.models import RefreshTrigger
from tests.replica.listing import CATALOG, COURSE, LATER, NOW, OTHER_CATALOG, a_course
from tests.replica.replicated import HOUR

RECORD = parser.parse(a_course())
ANOTHER = parser.parse(a_course(full_description="Anew."))


def fetched(
    *, catalog_uuid: object = CATALOG, upstream: str = "listing", now: datetime = NOW
) -> FetchContext:
    return FetchContext(CATALOG, f"{upstream}:{catalog_uuid}", now, RefreshTrigger.CRON)


def stored(record: Content, context: FetchContext, **columns: Any) -> StoredContent:
    """Return the row that a fetch made of a record."""
    row = StoredContent(
        pk=1,
        content_key=record.content_key,
        variant=record.variant,
        content_type=record.content_type,
        parent_key=record.parent_key or "",
        digest=record.digest,
        completeness=record.completeness,
        fetched_from=context.fetched_from,
        fetched_at=context.now,
        upstream_modified=record.upstream_modified,
        checked_at=context.now,
        gone_at=None,
        columns=merge.column_values(record),
    )
    return replace(row, **columns)


@pytest.mark.parametrize(
    ("inserted", "by", "decision"),
    [
        (True, fetched(), MergeDecision.CREATED),
        (False, fetched(), MergeDecision.UNCHANGED),
        (True, fetched(now=NOW - HOUR), MergeDecision.UNCHANGED),
        (True, fetched(catalog_uuid=OTHER_CATALOG), MergeDecision.UNCHANGED),
    ],
    ids=["inserted", "was there", "inserted by an earlier fetch", "inserted by another catalog's fetch"],
)
def test_a_row_is_created_by_the_fetch_that_inserted_it(
    inserted: bool, by: FetchContext, decision: MergeDecision
) -> None:
    merged = merge.decide(
        RECORD, stored(RECORD, by), context=fetched(), inserted=inserted, is_in_no_course=False
    )

    assert merged.decision is decision
    assert merged.changes == {}


def test_a_run_that_gets_a_course_or_another_one_records_both() -> None:
    run = RECORD.runs[0]

    for before in (None, "GlobeX+C9"):
        row = stored(run, fetched(), parent_key=before or "")
        merged = merge.decide(
            run, row, context=fetched(now=NOW + HOUR), inserted=False, is_in_no_course=False
        )
        assert (merged.decision, merged.parent_key) == (MergeDecision.CHANGED, COURSE)
        assert merged.changes == {"parent": (before, COURSE)}


ELSEWHERE = fetched(catalog_uuid=OTHER_CATALOG)


@pytest.mark.parametrize("upstream", ["listing", "https://catalog.example:8443"])
def test_two_catalogs_that_are_served_different_records_of_one_variant_and_modified_time_contradict(
    upstream: str,
) -> None:
    row = stored(RECORD, fetched(catalog_uuid=OTHER_CATALOG, upstream=upstream))

    merged = merge.decide(
        ANOTHER, row, context=fetched(upstream=upstream), inserted=False, is_in_no_course=False
    )

    assert merged.contradicts


@pytest.mark.parametrize(
    ("record", "row", "by"),
    [
        (RECORD, {}, ELSEWHERE),
        (ANOTHER, {}, fetched()),
        (ANOTHER, {}, fetched(catalog_uuid=OTHER_CATALOG, upstream="elsewhere")),
        (ANOTHER, {"upstream_modified": datetime.fromisoformat(LATER)}, ELSEWHERE),
        (ANOTHER, {"variant": "restricted"}, ELSEWHERE),
        (ANOTHER, {"completeness": Completeness.THIN}, ELSEWHERE),
        (replace(ANOTHER, upstream_modified=None), {"upstream_modified": None}, ELSEWHERE),
    ],
    ids=[
        "the same record",
        "the same catalog",
        "another upstream",
        "another modified time",
        "another variant",
        "a thin row",
        "no modified time",
    ],
)
def test_other_records_do_not_contradict(
    record: Content, row: Mapping[str, object], by: FetchContext
) -> None:
    merged = merge.decide(
        record, stored(RECORD, by, **row), context=fetched(), inserted=False, is_in_no_course=False
    )

    assert not merged.contradicts


def test_two_rows_differ_in_what_is_recorded_as_json() -> None:
    before = merge.column_values(RECORD) | {"uuid": None, "partner_names": ""}
    after = merge.column_values(RECORD) | {"title": "Anew", "enroll_by": NOW}

    assert merge.differences(before, after) == {
        "title": (RECORD.title, "Anew"),
        "enroll_by": (RECORD.enroll_by and RECORD.enroll_by.isoformat(), NOW.isoformat()),
    }
    assert merge.differences(before, before) == {}
