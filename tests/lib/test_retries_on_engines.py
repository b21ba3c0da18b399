"""Statements that meet in a real deadlock."""

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction

from bursary.replica.models import CatalogListing
from tests.replica.listing import NOW
from tests.together import until_a_lock_is_waited_for

FIRST, *OTHERS, LAST = [UUID(int=number) for number in range(1, 40)]


@pytest.fixture
def listings() -> None:
    for uuid in (FIRST, *OTHERS, LAST):
        CatalogListing.objects.create(catalog_uuid=uuid)


def in_a_thread_of_its_own(rows: list[UUID]) -> int:
    """Change these rows by one statement, outside any transaction."""
    try:
        return CatalogListing.objects.filter(catalog_uuid__in=rows).update(begun_at=NOW)
    finally:
        connection.close()


def undone(thread: ThreadPoolExecutor) -> Future[int] | None:
    """Let a lone update and a transaction wait for each other; return the update if it was the victim."""
    later = NOW + timedelta(hours=1)
    try:
        with transaction.atomic():
            # Many rows, so that MySQL undoes the other; PostgreSQL undoes what has waited for a second.
            CatalogListing.objects.exclude(catalog_uuid=FIRST).update(begun_at=later)
            lone = thread.submit(in_a_thread_of_its_own, [FIRST, LAST])
            until_a_lock_is_waited_for()  # it has locked the first and waits for the last
            CatalogListing.objects.filter(catalog_uuid=FIRST).update(begun_at=later)
    except OperationalError:  # that second had passed already
        assert lone.result(60) == 2
        return None
    return lone


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("listings")
def test_a_lone_update_that_is_the_victim_of_a_deadlock_is_made_after_it() -> None:
    with ThreadPoolExecutor(1) as thread:
        tries = (undone(thread) for _try in range(20))
        assert next(lone for lone in tries if lone).result(60) == 2

    assert set(CatalogListing.objects.filter(begun_at=NOW).values_list("catalog_uuid", flat=True)) == {
        FIRST,
        LAST,
    }
