"""The number of statements does not grow with the batch."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.replica import refresh
from bursary.replica.models import RefreshSource
from tests.replica.listing import CATALOG, LATER, NOW, Listing, Record, recorded

pytestmark = pytest.mark.django_db


def statements(records: Sequence[Record], *, hours: int) -> int:
    """Count a refresh's statements. SQLite takes 999 values in one insert: what Django cut counts as one."""
    with CaptureQueriesContext(connection) as queries:
        refresh.refresh_catalog(
            CATALOG, source=Listing(records), now=NOW + timedelta(hours=hours), by=RefreshSource.CRON
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

    assert statements(few, hours=0) == statements(many, hours=0)
    assert statements(few, hours=1) == statements(many, hours=1)
    assert statements(touched(few), hours=2) == statements(touched(many), hours=2)
    assert statements(touched(few, title="New"), hours=3) == statements(touched(many, title="New"), hours=3)


def test_unchanged_content_takes_one_update() -> None:
    courses = recorded("courses")[:50]
    refresh.refresh_catalog(CATALOG, source=Listing(courses), now=NOW, by=RefreshSource.CRON)

    with CaptureQueriesContext(connection) as queries:
        refresh.refresh_catalog(
            CATALOG, source=Listing(touched(courses)), now=NOW + timedelta(hours=1), by=RefreshSource.CRON
        )

    said = [query["sql"] for query in queries.captured_queries if "SAVEPOINT" not in query["sql"]]
    # What is there; the same under lock; one update; and where the catalog holds it.
    assert [sql.split()[0] for sql in said] == ["SELECT", "SELECT", "UPDATE", "INSERT"]
    assert "payload" not in "".join(said)
