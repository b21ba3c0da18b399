"""What each engine must do for leased rows: lock them, and read them from the index."""

import json
import logging
import os
import re
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.test.utils import CaptureQueriesContext

from bursary.events.models import EventKind, EventSource, InboxEvent
from bursary.lib import leases
from bursary.lib.batches import chunks
from bursary.lib.leases import MAY_BE_EARLY
from bursary.lib.locks import for_update
from tests.innodb import transactions_in_this_database
from tests.lib.leased import HOUR, MINUTE, ROWS, SECOND, claim, given, names
from tests.together import together
from tests.world import NOW

pytestmark = pytest.mark.django_db

logger = logging.getLogger(__name__)

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "mysql": "EXPLAIN FORMAT=JSON"}.get(connection.vendor, "EXPLAIN")
INDEX = '"key": "event_due"' if connection.vendor == "mysql" else "event_due"
COSTLY = {
    "sqlite": ("TEMP B-TREE", "SCAN"),
    "postgresql": ("Sort", "Seq Scan"),
    "mysql": ("filesort", '"access_type": "ALL"', '"access_type": "index"'),
}
LATE = NOW + HOUR + MINUTE
"""When some of those that are postponed are due."""
FINISHED, POSTPONED, WAITING = (
    (200_000, 100_000, 300_000) if "BURSARY_TEST_SOAK" in os.environ else (4000, 4000, 4000)
)


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
    limit = {"postgresql": "SET lock_timeout = '2s'", "mysql": "SET innodb_lock_wait_timeout = 2"}

    def claim_or_fail() -> Any:
        try:
            with connection.cursor() as cursor:
                cursor.execute(limit[connection.vendor])
            return claim()
        finally:
            connection.close()  # the next thread waits for locks

    with transaction.atomic():
        for_update(ROWS()).get(pk=locked.pk)
        [claimed] = together([claim_or_fail])
    assert isinstance(claimed, list)
    assert names(claimed) == ["free"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("of_one", [False, True], ids=["all", "one"])
def test_rows_of_a_function_are_asked_for_claimed_and_locked_as_those_of_its_query_set(of_one: bool) -> None:
    given("other", due=-MINUTE)
    pks = [given("one", early=MAY_BE_EARLY).pk] if of_one else None

    def asked(rows: Any) -> tuple[list[str], list[Any]]:
        with CaptureQueriesContext(connection) as queries:
            found: list[Any] = [leases.any_due(rows, now=at, pks=pks) for at in (NOW - HOUR, NOW)]
            found.append(leases.first_due(rows, now=NOW, limit=2))
            claimed = leases.claim(rows, now=NOW, lease=HOUR, limit=1, pks=pks, attempts=F("attempts") + 1)
            found += [(row.pk, row.attempts, row.before_claim) for row in claimed]
        assert leases.release(claimed) == 1
        ROWS().update(attempts=0, fence=0)
        # A parameter's value is in parentheses of its own.
        return [re.sub(r"\(('[^']*'\S*?)\)", r"\1", query["sql"]) for query in queries], found

    expected = asked(ROWS())
    assert asked(ROWS) == asked(ROWS) == expected
    assert len(expected[1]) == 4
    [_before, due, first, (claimed, *_more)] = expected[1]
    assert (due, claimed) == (True, pks[0] if pks else first[0])


@pytest.fixture
def many() -> None:
    """Thousands of rows of each sort: finished, postponed, early; `make soak` has more."""
    for due_at, early, count in (
        (None, None, FINISHED),
        (NOW + HOUR, 0, POSTPONED),
        (NOW + MINUTE, 1, WAITING),
    ):
        rows = (
            InboxEvent(
                source=EventSource.BUS,
                event_id=f"{early} {number}",
                kind=EventKind.CONTENT_CHANGED,
                received_at=NOW,
                settled_at=None if due_at else NOW,
                due_at=due_at and due_at + number * SECOND,
                early=early,
            )
            for number in range(count)
        )
        for chunk in chunks(rows, 20_000):
            InboxEvent.objects.bulk_create(chunk)
    if connection.vendor != "mysql":  # InnoDB looks into the index for each plan; ANALYZE would commit
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def claiming(number: int) -> QuerySet[Any, Any]:
    """Return the query for one of the ranges in which a claim looks for rows."""
    due = leases._due(LATE)[number]
    return (
        for_update(ROWS(), skip_locked=True).filter(due).order_by("due_at").values_list("due_at", "pk")[:20]
    )


def looking_for_the_oldest(early: int) -> QuerySet[Any, Any]:
    """Return the query for the row of a sort that has waited longest."""
    past = ROWS().filter(leases._free(LATE), early=early, due_at__lte=LATE)
    return past.order_by("due_at").values_list("due_at", flat=True)[:1]


QUERIES = [
    *(partial(claiming, number) for number in range(3)),
    *(partial(looking_for_the_oldest, early) for early in (0, 1)),
]


@pytest.mark.usefixtures("many")
def test_what_a_worker_asks_is_read_from_the_index_in_its_order(subtests: pytest.Subtests) -> None:
    for number, query in enumerate(QUERIES):
        with subtests.test("what is due", number=number):
            plan = query().explain(format="JSON" if connection.vendor == "mysql" else None)
            is_read_from_the_index(json.loads(plan) if connection.vendor == "mysql" else plan)
    with subtests.test("whether anything is due"):
        with CaptureQueriesContext(connection) as asked:
            assert leases.any_due(ROWS(), now=NOW)
        assert len(asked) == 2  # nothing is due, and something may be done early
        for asking in asked:
            with connection.cursor() as cursor:
                cursor.execute(f"{EXPLAIN} {asking['sql']}")
                is_read_from_the_index("\n".join(" ".join(map(str, row)) for row in cursor.fetchall()))


def is_read_from_the_index(plan: str) -> None:
    logger.info("%s", plan)
    assert INDEX in plan
    for costly in COSTLY[connection.vendor]:
        assert costly not in plan


@pytest.mark.skipif("BURSARY_TEST_SOAK" not in os.environ, reason="takes minutes: `make soak`")
@pytest.mark.usefixtures("many")
def test_a_claim_among_hundreds_of_thousands_takes_a_moment() -> None:
    questions: dict[str, Callable[[], object]] = {
        "claim 20": partial(leases.first_due, for_update(ROWS(), skip_locked=True), now=LATE, limit=20),
        "anything due": partial(leases.any_due, ROWS(), now=LATE),
        "oldest due": partial(leases.oldest_due, ROWS(), now=LATE),
    }
    for what, ask in questions.items():
        times = []
        for _time in range(50):
            began = perf_counter()
            ask()
            times.append(perf_counter() - began)
        logger.info("%s: %s: %.2f ms", connection.vendor, what, 1000 * median(times))
        assert median(times) < 0.1


@pytest.mark.only_on("mysql", because="InnoDB locks each row that it reads, of which others count none")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("many")
def test_a_claim_locks_what_it_takes_and_not_what_it_passes_over() -> None:
    """An index record and its row, of each of at most 20 rows in each of two ranges."""
    with transaction.atomic():
        leases.first_due(for_update(ROWS(), skip_locked=True), now=LATE, limit=20)
        [own] = transactions_in_this_database()
    assert 20 <= own.rows_locked <= 2 * 2 * 20 + 2
