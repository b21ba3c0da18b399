"""Statements that meet in a real deadlock."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from uuid import UUID

import pytest
from django.db import connection, transaction

from bursary.replica.models import CatalogListing
from tests.replica.listing import NOW

FIRST, *OTHERS, LAST = [UUID(int=number) for number in range(1, 40)]


@pytest.fixture
def listings() -> None:
    for uuid in (FIRST, *OTHERS, LAST):
        CatalogListing.objects.create(catalog_uuid=uuid)


def in_a_thread_of_its_own(rows: list[UUID], *, started: Event) -> int:
    """Change these rows by one statement, outside any transaction."""
    try:
        started.set()
        return CatalogListing.objects.filter(catalog_uuid__in=rows).update(begun_at=NOW)
    finally:
        connection.close()


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("listings")
def test_a_lone_update_that_is_the_victim_of_a_deadlock_is_made_after_it() -> None:
    later, started = NOW + timedelta(hours=1), Event()
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            # Many rows, so that MySQL undoes the other; PostgreSQL undoes what has waited longest.
            CatalogListing.objects.exclude(catalog_uuid=FIRST).update(begun_at=later)
            lone = thread.submit(in_a_thread_of_its_own, [FIRST, LAST], started=started)
            assert started.wait(60)
            time.sleep(0.3)  # until it has locked the first and waits for the last
            CatalogListing.objects.filter(catalog_uuid=FIRST).update(begun_at=later)
        assert lone.result(60) == 2

    assert set(CatalogListing.objects.filter(begun_at=NOW).values_list("catalog_uuid", flat=True)) == {
        FIRST,
        LAST,
    }
