"""What each engine must do for leased rows: lock them, and read them from the index."""

from functools import partial

import pytest
from django.db import connection, transaction

from bursary.events.models import EventKind, EventSource, InboxEvent
from bursary.lib import leases
from bursary.lib.locks import for_update
from tests.lib.leased import HOUR, MINUTE, ROWS, SECOND, claim, given, names
from tests.together import together
from tests.world import NOW

pytestmark = pytest.mark.django_db


@pytest.mark.django_db(transaction=True)
def test_one_row_claimed_by_eight_threads_is_claimed_once() -> None:
    given("one")
    claims = together([partial(claim, limit=1)] * 8)
    assert sorted(len(rows) for rows in claims if isinstance(rows, list)) == [0] * 7 + [1]


@pytest.mark.django_db(transaction=True)
def test_claimers_at_the_same_time_share_no_row_and_lose_none() -> None:
    for number in range(40):
        given(str(number), early=number % 2)
    claims = together([partial(claim, limit=10)] * 4)
    claimed = [row.pk for rows in claims if isinstance(rows, list) for row in rows]
    claimed += [row.pk for row in claim(limit=40)]
    assert len(claimed) == len(set(claimed)) == 40


@pytest.mark.postgres_only
@pytest.mark.django_db(transaction=True)
def test_a_claim_passes_over_rows_that_are_locked_instead_of_waiting() -> None:
    locked = given("locked", due=-MINUTE)
    given("free")
    with transaction.atomic():
        for_update(ROWS()).get(pk=locked.pk)
        [claimed] = together([claim])
    assert isinstance(claimed, list)
    assert names(claimed) == ["free"]


@pytest.fixture
def many() -> None:
    """Thousands of rows of each sort: finished, postponed, early."""
    for sort, (due_at, early) in enumerate(((None, None), (NOW + HOUR, 0), (NOW + MINUTE, 1))):
        InboxEvent.objects.bulk_create(
            InboxEvent(
                source=EventSource.BUS,
                event_id=f"{sort} {number}",
                kind=EventKind.CONTENT_CHANGED,
                received_at=NOW,
                settled_at=None if due_at else NOW,
                due_at=due_at and due_at + number * SECOND,
                early=early,
            )
            for number in range(4000)
        )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("number", range(3))
def test_each_range_of_a_claim_is_read_from_the_index_in_its_order(number: int) -> None:
    due = leases._due(NOW + HOUR + MINUTE)[number]
    plan = ROWS().filter(due).order_by("due_at").values_list("due_at", "pk")[:20].explain()
    assert "event_due" in plan
    for costly in ("Sort", "TEMP B-TREE", "SCAN", "Seq Scan"):
        assert costly not in plan
