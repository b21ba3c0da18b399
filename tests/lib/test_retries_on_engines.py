"""Statements that meet in a real deadlock."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction

from bursary.lib.locks import for_update
from bursary.replica.models import CatalogListing
from tests.replica.listing import NOW
from tests.together import Arrivals, until_a_lock_is_waited_for

FIRST, MIDDLE, *OTHERS, LAST = [UUID(int=number) for number in range(1, 40)]


@pytest.fixture
def listings() -> None:
    for uuid in (FIRST, MIDDLE, *OTHERS, LAST):
        CatalogListing.objects.create(catalog_uuid=uuid)


def leave_deadlocks_to_others() -> None:
    """Let PostgreSQL look for none in this transaction: it undoes the one for which it finds one."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL deadlock_timeout = '1h'")


def in_a_thread_of_its_own(rows: list[UUID]) -> int:
    """Change these rows by one statement, outside any transaction, in the order of their keys.

    PostgreSQL takes rows as they lie in the table, which depends on what earlier tests left there.
    """
    try:
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION enable_seqscan = off; SET SESSION enable_bitmapscan = off")
        return CatalogListing.objects.filter(catalog_uuid__in=rows).update(begun_at=NOW)
    finally:
        connection.close()


def hold(row: UUID, *, held: Arrivals) -> None:
    """Keep a row locked until two others wait for locks."""
    try:
        with transaction.atomic():
            for_update(CatalogListing.objects.all()).get(catalog_uuid=row)
            held.come()
            until_a_lock_is_waited_for(by=2)
    finally:
        connection.close()


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("listings")
def test_a_lone_update_that_is_the_victim_of_a_deadlock_is_made_after_it() -> None:
    later, held = NOW + timedelta(hours=1), Arrivals()
    with ThreadPoolExecutor(2) as threads:
        with transaction.atomic():
            leave_deadlocks_to_others()
            # Many rows, so that MySQL undoes the other.
            CatalogListing.objects.exclude(catalog_uuid__in=[FIRST, MIDDLE]).update(begun_at=later)
            holding = threads.submit(hold, MIDDLE, held=held)
            held.wait_for(1)
            lone = threads.submit(in_a_thread_of_its_own, [FIRST, MIDDLE, LAST])
            until_a_lock_is_waited_for()  # it has locked the first, and waits for the middle one
            # And for the last once this waits for the first: it finds the deadlock, however late it comes.
            CatalogListing.objects.filter(catalog_uuid=FIRST).update(begun_at=later)
        assert lone.result(120) == 3
        holding.result(120)

    changed = CatalogListing.objects.filter(begun_at=NOW).values_list("catalog_uuid", flat=True)
    assert set(changed) == {FIRST, MIDDLE, LAST}
