"""The number of statements does not grow with the batch."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.catalog import parser
from bursary.replica import ingest, refresh
from bursary.replica.merge import FetchContext
from bursary.replica.models import CatalogMembership, ContentMetadata, RefreshTrigger
from tests.replica.listing import CATALOG, LATER, NOW, OTHER_CATALOG, Listing, Record, recorded

pytestmark = pytest.mark.django_db


def statements(records: Sequence[Record], *, hours: int, catalog_uuid: UUID = CATALOG) -> int:
    """Count a refresh's statements. SQLite takes 999 values in one insert: what Django cut counts as one."""
    with CaptureQueriesContext(connection) as queries:
        refresh.refresh_catalog(
            catalog_uuid,
            source=Listing(records),
            now=NOW + timedelta(hours=hours),
            trigger=RefreshTrigger.CRON,
        )
    said = [query["sql"] for query in queries.captured_queries]
    if connection.vendor != "sqlite":
        return len(said)
    inserts = groupby(enumerate(said), lambda one: one[1][:60] if one[1].startswith("INSERT") else one[0])
    return len(list(inserts))


def touched(records: Sequence[Record], **changes: object) -> list[Record]:
    return [record | {"content_last_modified": LATER} | changes for record in records]


def test_fifty_courses_take_as_many_statements_as_ten() -> None:
    few, many = recorded("courses")[:10], recorded("courses")[100:150]

    for hours, changes in ((0, None), (1, None), (2, {}), (3, {"title": "New"})):
        for_few, for_many = (
            statements(
                records if changes is None else touched(records, **changes),
                hours=hours,
                catalog_uuid=catalog_uuid,
            )
            for records, catalog_uuid in ((few, CATALOG), (many, OTHER_CATALOG))
        )
        assert for_few == for_many, hours


def test_unchanged_content_takes_one_update_and_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    courses = recorded("courses")[:50]
    refresh.refresh_catalog(CATALOG, source=Listing(courses), now=NOW, trigger=RefreshTrigger.CRON)

    context = FetchContext(CATALOG, f"listing:{CATALOG}", NOW + timedelta(hours=1), RefreshTrigger.CRON)
    monkeypatch.delattr(parser, "parse")
    with CaptureQueriesContext(connection) as queries:
        report = ingest.ingest(touched(courses), context=context)

    said = [query["sql"] for query in queries.captured_queries if "SAVEPOINT" not in query["sql"]]
    # What has the records' digests, under lock; what the catalog holds of it; content, and memberships.
    assert [sql.split()[0] for sql in said] == ["SELECT", "SELECT", "UPDATE", "UPDATE"]
    assert "payload" not in "".join(said)
    assert report.unchanged == ContentMetadata.objects.filter(checked_at=context.now).count() > len(courses)
    assert CatalogMembership.objects.filter(seen_at=context.now).count() == report.unchanged
