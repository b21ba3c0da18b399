"""What a refresh reads of the database for a batch: the rows of the batch, however many others there are.

PostgreSQL prefers to read a small table as a whole. It is kept from that here, so that what reads every row
all the same has no index for what it asks.
"""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection

from tests.replica.listing import NOW, OTHER_CATALOG
from tests.replica.upstream import Upstream, courses, listing_of
from tests.rows_read import plan_for_these_rows, rows_read

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql", because="it reads its statistics")]

DAY = timedelta(days=1)
LISTED = 30
BESIDE = 600
"""Rows of another catalog. One statement that reads all of them shows."""


def refreshes(catalog_uuid: UUID, *, first: int) -> Iterator[tuple[str, int]]:
    """Yield what each refresh of a catalog finds, and how many rows it reads."""
    upstream = Upstream(courses(LISTED, start=first))
    for day, name in enumerate(("new", "unchanged", "changed", "missing", "gone")):
        if name == "changed":
            upstream.records = [one | {"title": f"{one['title']} II"} for one in courses(LISTED, start=first)]
        if name == "missing":
            del upstream.records[0]
        before = rows_read()
        listing_of(upstream, now=NOW + day * DAY, catalog_uuid=catalog_uuid)
        yield name, rows_read() - before


def test_a_refresh_reads_the_rows_that_it_concerns(subtests: pytest.Subtests) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan_for_these_rows()
    at_first = dict(refreshes(UUID(int=1), first=10_000))
    listing_of(Upstream(courses(BESIDE)), catalog_uuid=OTHER_CATALOG)
    plan_for_these_rows()

    for name, read in refreshes(UUID(int=2), first=20_000):
        with subtests.test(name):
            assert read < at_first[name] + BESIDE, at_first
