"""Statements that meet in a real deadlock."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction

from bursary.replica.models import CatalogListing
from tests.replica.listing import NOW
from tests.together import until_a_lock_is_waited_for

FIRST, *OTHERS, LAST = [UUID(int=number) for number in range(1, 40)]


@pytest.fixture
def listings() -> None:
    for uuid in (FIRST, *OTHERS, LAST):
        CatalogListing.objects.create(catalog_uuid=uuid)


def detect_deadlocks_after(seconds: int) -> None:
    """Let PostgreSQL look for a deadlock once this connection has waited for so long: it undoes that one."""
    if connection.vendor == "postgresql":
        until = "LOCAL" if connection.in_atomic_block else "SESSION"
        with connection.cursor() as cursor:
            cursor.execute(f"SET {until} deadlock_timeout = '{seconds}s'")


def in_a_thread_of_its_own(rows: list[UUID]) -> int:
    """Change these rows by one statement, outside any transaction."""
    try:
        detect_deadlocks_after(3)
        return CatalogListing.objects.filter(catalog_uuid__in=rows).update(begun_at=NOW)
    finally:
        connection.close()


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("listings")
def test_a_lone_update_that_is_the_victim_of_a_deadlock_is_made_after_it() -> None:
    later = NOW + timedelta(hours=1)
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            detect_deadlocks_after(120)
            # Many rows, so that MySQL undoes the other.
            CatalogListing.objects.exclude(catalog_uuid=FIRST).update(begun_at=later)
            lone = thread.submit(in_a_thread_of_its_own, [FIRST, LAST])
            until_a_lock_is_waited_for()  # it has locked the first, and waits for the last
            CatalogListing.objects.filter(catalog_uuid=FIRST).update(begun_at=later)
        assert lone.result(60) == 2

    assert set(CatalogListing.objects.filter(begun_at=NOW).values_list("catalog_uuid", flat=True)) == {
        FIRST,
        LAST,
    }
