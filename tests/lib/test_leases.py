"""Leased rows, tried on the inbox: claimed once, settled by the newest claim, never lost."""

from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from bursary.events.models import EventOutcome, InboxEvent
from bursary.lib import leases
from bursary.lib.leases import MAY_BE_EARLY, NOT_BEFORE
from tests.lib.leased import (
    HOUR,
    LEASE,
    MINUTE,
    ROWS,
    SECOND,
    claim,
    columns_of,
    finish,
    given,
    given_finished,
    names,
    stored,
)
from tests.world import NOW

pytestmark = pytest.mark.django_db


# Claiming


def test_a_claim_takes_rows_that_are_due_oldest_first_and_leaves_the_others() -> None:
    given("second", due=-MINUTE)
    given("first", due=-HOUR)
    given("now")
    given("later", due=SECOND)
    given_finished("finished")
    assert names(claim()) == ["first", "second", "now"]


def test_early_rows_are_claimed_before_their_time_merged_with_those_that_are_due() -> None:
    given("third", due=5 * SECOND, early=MAY_BE_EARLY)
    given("postponed", due=SECOND)
    given("second")
    given("first", due=-SECOND, early=MAY_BE_EARLY)
    assert names(claim()) == ["first", "second", "third"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_limit_holds_over_all_ranges_together(limit: int) -> None:
    for number, early in enumerate((NOT_BEFORE, MAY_BE_EARLY) * 2):
        given(str(number), due=(number - 4) * SECOND, early=early)
    assert names(claim(limit=limit)) == [str(number) for number in range(limit)]


def test_a_claim_writes_the_lease_raises_the_fence_and_writes_further_columns() -> None:
    row = given("one", due=-HOUR, early=MAY_BE_EARLY)
    [claimed] = claim(attempts=F("attempts") + 1)
    assert columns_of(row) == (NOW + LEASE, NOT_BEFORE, NOW + LEASE, 1)
    assert (claimed.due_at, claimed.lease_until, claimed.fence, claimed.attempts) == (
        NOW + LEASE,
        NOW + LEASE,
        1,
        1,
    )


def test_a_claimed_row_is_not_claimed_again_before_its_lease_ends() -> None:
    given("one")
    claim()
    assert claim(NOW + LEASE - SECOND) == []


def test_a_dead_workers_row_is_due_when_its_lease_ends() -> None:
    given("one")
    claim()
    [again] = claim(NOW + LEASE)
    assert again.fence == 2


def test_a_claim_keeps_to_the_rows_it_is_given() -> None:
    given("one")
    other = given("other")
    claimed = leases.claim(ROWS().filter(pk=other.pk), now=NOW, lease=LEASE, limit=10)
    assert names(claimed) == ["other"]


def test_nothing_due_is_nothing_claimed_and_nothing_written() -> None:
    row = given("later", due=HOUR)
    assert claim() == []
    assert columns_of(row) == (NOW + HOUR, NOT_BEFORE, None, 0)


def test_what_may_be_claimed_is_counted_and_found_without_a_claim() -> None:
    assert not leases.any_due(ROWS(), now=NOW)
    assert leases.oldest_due(ROWS(), now=NOW) is None
    early = given("early", due=HOUR, early=MAY_BE_EARLY)
    assert leases.any_due(ROWS(), now=NOW)
    assert leases.oldest_due(ROWS(), now=NOW) is None  # it does not wait yet
    given("late", due=-MINUTE)
    given("later", due=MINUTE)
    assert leases.count_due(ROWS(), now=NOW) == 2
    assert leases.count_due(ROWS(), now=NOW, limit=1) == 1
    first, *others = leases.first_due(ROWS(), now=NOW, limit=5)
    assert others == [early.pk]
    assert leases.first_due(ROWS(), now=NOW, limit=1) == [first]
    assert leases.oldest_due(ROWS(), now=NOW) == NOW - MINUTE
    claim()
    assert leases.count_due(ROWS(), now=NOW) == 0
    assert leases.oldest_due(ROWS(), now=NOW + HOUR) == NOW + MINUTE
    assert not leases.any_due(ROWS(), now=NOW)
    leases.schedule(ROWS().exclude(lease_until=None), at=NOW, now=NOW)
    assert leases.oldest_due(ROWS(), now=NOW) is None  # both have a worker


def test_whether_anything_is_due_may_be_asked_of_some_rows() -> None:
    due, later = given("due"), given("later", due=MINUTE)
    assert leases.any_due(ROWS, now=NOW, pks=[due.pk, later.pk])
    assert not leases.any_due(ROWS, now=NOW, pks=[later.pk])


def test_no_more_rows_are_read_than_are_asked_for() -> None:
    with CaptureQueriesContext(connection) as asked:
        leases.any_due(ROWS, now=NOW)
    assert {query["sql"].rpartition("LIMIT ")[2] for query in asked} == {"1"}
    with CaptureQueriesContext(connection) as asked:
        leases.first_due(ROWS, now=NOW, limit=3)
    assert {query["sql"].rpartition("LIMIT ")[2] for query in asked} == {"3"}


# Settling


@pytest.mark.parametrize("finished_wins", [True, False])
@pytest.mark.parametrize("count", [1, 2])
def test_settling_writes_the_outcome_and_frees_the_rows(count: int, *, finished_wins: bool) -> None:
    """One and many rows are settled by different statements."""
    rows = [given(str(number)) for number in range(count)]
    assert finish(*claim(), finished_wins=finished_wins) == count
    for row in rows:
        assert columns_of(row) == (None, None, None, 1)
        assert stored(row).outcome == EventOutcome.REVERSED
    assert claim(NOW + HOUR) == []


def test_a_row_that_is_due_again_waits_until_then() -> None:
    row = given("one")
    assert leases.settle(claim(), due_at=NOW + HOUR, now=NOW, last_error="Timeout.") == 1
    assert columns_of(row) == (NOW + HOUR, NOT_BEFORE, None, 1)
    assert claim(NOW + HOUR - SECOND) == []
    assert names(claim(NOW + HOUR)) == ["one"]


def test_many_rows_are_settled_at_once_each_with_its_own_instant() -> None:
    first, second = given("first", due=-SECOND), given("second")
    due_at = {first.pk: NOW + HOUR, second.pk: NOW + MINUTE}
    assert leases.settle(claim(), due_at=due_at, now=NOW) == 2
    assert [stored(row).due_at for row in (first, second)] == [NOW + HOUR, NOW + MINUTE]


def test_a_late_worker_settles_nothing() -> None:
    row = given("one")
    late = claim()
    [second] = claim(NOW + LEASE)
    assert finish(*late, at=NOW + LEASE) == 0
    assert stored(row).outcome == ""
    assert finish(second, at=NOW + LEASE) == 1
    assert finish(*late, at=NOW + HOUR) == 0


def test_among_many_rows_only_those_still_claimed_are_settled() -> None:
    lost, kept = given("lost"), given("kept")
    rows = claim()
    leases.claim(ROWS().filter(pk=lost.pk), now=NOW + LEASE, lease=LEASE, limit=1)
    assert leases.settle(rows, due_at=NOW + HOUR, now=NOW + LEASE) == 1
    assert stored(kept).lease_until is None
    assert stored(lost).lease_until == NOW + 2 * LEASE


def test_rows_that_were_claimed_more_or_less_often_are_settled_together() -> None:
    given("again")
    claim()
    given("first", due=LEASE)
    claimed = claim(NOW + LEASE)
    assert sorted(row.fence for row in claimed) == [1, 2]
    assert finish(*claimed, at=NOW + LEASE) == 2


def test_a_worker_that_outlived_its_lease_settles_while_no_other_has_claimed_the_row() -> None:
    given("one")
    assert finish(*claim(), at=NOW + 2 * LEASE) == 1


def test_a_settled_row_is_not_settled_again_by_the_same_claim() -> None:
    row = given("one")
    claimed = claim()
    leases.settle(claimed, due_at=NOW + HOUR, now=NOW)
    assert finish(*claimed) == 0
    assert stored(row).due_at == NOW + HOUR


def test_a_condition_of_the_models_own_is_kept() -> None:
    row = given("one")
    [claimed] = claim()
    InboxEvent.objects.update(attempts=7)
    held = partial(leases.settle, [claimed], due_at=NOW + HOUR, now=NOW)
    assert held(condition={"attempts": 0}) == 0
    assert stored(row).lease_until == NOW + LEASE
    assert held(condition={"attempts": 7}) == 1


def test_settling_no_row_is_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert leases.settle([], due_at=None, now=NOW) == 0


def test_a_row_is_discarded_by_the_worker_that_has_the_claim_and_by_no_other() -> None:
    row = given("one")
    [late] = claim()
    [second] = claim(NOW + LEASE)
    assert not leases.discard(late)
    assert stored(row).fence == 2
    assert leases.discard(second)
    assert not ROWS().exists()


def test_past_rows_are_deleted_also_those_of_a_wrong_clock_and_no_row_that_waits_or_may_be_early() -> None:
    given("past", due=-SECOND)
    given("now")
    given("wrong clock", due=leases.MAX_DELAY + SECOND)
    given("longest wait", due=leases.MAX_DELAY)
    given("later", due=SECOND)
    given("early", due=-HOUR, early=MAY_BE_EARLY)
    given_finished("finished")
    assert leases.delete_past(ROWS(), now=NOW) == 2
    assert names([*ROWS().order_by("pk")]) == ["now", "longest wait", "later", "early", "finished"]
