"""A listing that brings in thousands of courses has PostgreSQL plan by what is there.

Without statistics each batch reads whole tables, and takes the longer the more there is.
"""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests.replica.listing import CATALOG, NOW, Listing, recorded

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.only_on("postgresql", because="the others plan without, or take theirs at once"),
]


def listed(*, dry_run: bool = False, count: int = 200) -> int:
    """Bring in a catalog of so many courses; return how many times statistics are taken meanwhile."""
    source = Listing(recorded("courses")[:count])
    with CaptureQueriesContext(connection) as queries:
        refresh.refresh_catalog(CATALOG, source=source, now=NOW, trigger=RefreshTrigger.CRON, dry_run=dry_run)
    return sum(query["sql"].startswith("ANALYZE") for query in queries)


def test_statistics_are_taken_whenever_what_is_new_has_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "FIRST_ANALYZED", 100)
    assert listed() == 2  # after the first of four batches, and after the one with twice its rows
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [ContentMetadata._meta.db_table])
        [counted] = cursor.fetchone()
    assert 400 <= counted <= 667
    assert listed() == 0  # nothing is new


def test_few_new_courses_and_a_dry_run_leave_statistics_to_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert listed(count=50) == 0
    monkeypatch.setattr(refresh, "FIRST_ANALYZED", 100)
    assert listed(dry_run=True, count=100) == 0
