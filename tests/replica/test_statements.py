"""The number of statements does not grow with the batch."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.replica import ingest, refresh
from bursary.replica.merge import FetchContext
from bursary.replica.models import RefreshSource
from tests.replica.listing import CATALOG, LATER, NOW, OTHER_CATALOG, Listing, Record, recorded

pytestmark = pytest.mark.django_db


def statements(records: Sequence[Record], *, hours: int, catalog_uuid: UUID = CATALOG) -> int:
    """Count a refresh's statements. SQLite takes 999 values in one insert: what Django cut counts as one."""
    with CaptureQueriesContext(connection) as queries:
        refresh.refresh_catalog(
            catalog_uuid, source=Listing(records), now=NOW + timedelta(hours=hours), by=RefreshSource.CRON
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


def test_unchanged_content_takes_one_update() -> None:
    courses = recorded("courses")[:50]
    refresh.refresh_catalog(CATALOG, source=Listing(courses), now=NOW, by=RefreshSource.CRON)

    context = FetchContext(CATALOG, f"listing:{CATALOG}", NOW + timedelta(hours=1), RefreshSource.CRON)
    with CaptureQueriesContext(connection) as queries:
        ingest.ingest(touched(courses), context=context)

    said = [query["sql"] for query in queries.captured_queries if "SAVEPOINT" not in query["sql"]]
    # What is in quarantine; what exists; which runs were named; all of it under lock; what is due later, and
    # that; an update of content; the memberships, and their update.
    expected = ["SELECT"] * 5 + ["UPDATE"] * 2 + ["SELECT", "UPDATE"]
    assert [sql.split()[0] for sql in said] == expected
    assert "payload" not in "".join(said)
