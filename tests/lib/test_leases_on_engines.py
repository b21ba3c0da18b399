"""What each engine must do for leased rows: lock them, and read them from the index."""

import json
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import QuerySet

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


@pytest.mark.needs_row_locks
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
    if connection.vendor != "mysql":  # InnoDB looks into the index for each plan; ANALYZE would commit
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def plan_of(rows: QuerySet[Any, Any]) -> str:
    """Return the plan of a query; on MySQL as JSON, of which the table of the other form leaves out much."""
    if connection.vendor == "mysql":
        plan: str = json.loads(rows.explain(format="JSON"))
        return plan
    return rows.explain()


COSTLY = {
    "sqlite": ("TEMP B-TREE", "SCAN"),
    "postgresql": ("Sort", "Seq Scan"),
    "mysql": ("filesort", '"access_type": "ALL"', '"access_type": "index"'),
}


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize("number", range(3))
def test_each_range_of_a_claim_is_read_from_the_index_in_its_order(number: int) -> None:
    due = leases._due(NOW + HOUR + MINUTE)[number]
    plan = plan_of(ROWS().filter(due).order_by("due_at").values_list("due_at", "pk")[:20])
    assert ('"key": "event_due"' if connection.vendor == "mysql" else "event_due") in plan
    for costly in COSTLY[connection.vendor]:
        assert costly not in plan


@pytest.mark.only_on("mysql", because="InnoDB locks each row that it reads, of which others count none")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("many")
def test_a_claim_locks_what_it_takes_and_not_what_it_passes_over() -> None:
    """An index record and its row, of each of at most 20 rows in each of two ranges."""
    with transaction.atomic(), connection.cursor() as cursor:
        leases.first_due(for_update(ROWS(), skip_locked=True), now=NOW + HOUR + MINUTE, limit=20)
        cursor.execute(
            "SELECT trx_rows_locked FROM information_schema.innodb_trx"
            " WHERE trx_mysql_thread_id = CONNECTION_ID()"
        )
        [(locked,)] = cursor.fetchall()
    assert 20 <= locked <= 2 * 2 * 20 + 2
