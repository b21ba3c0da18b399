"""Leased rows that are scheduled, renewed and postponed, under a lease and beside it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext

from bursary.lib import leases, retries
from bursary.lib.clock import renewing
from bursary.lib.leases import MAX_DELAY, MAY_BE_EARLY, NOT_BEFORE
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


# Scheduling


def test_scheduling_lowers_the_date_and_never_raises_it() -> None:
    sooner, later = given("sooner", due=MINUTE), given("later", due=HOUR, early=MAY_BE_EARLY)
    assert leases.schedule(ROWS(), at=NOW + 2 * MINUTE, now=NOW) == 2
    assert columns_of(sooner)[:2] == (NOW + MINUTE, NOT_BEFORE)
    assert columns_of(later)[:2] == (NOW + 2 * MINUTE, NOT_BEFORE)


def test_scheduling_opens_a_finished_row_and_writes_further_columns() -> None:
    row = given_finished("one")
    leases.schedule(ROWS(), at=NOW + MINUTE, now=NOW, settled_at=None, last_error="Again.")
    assert columns_of(row)[:2] == (NOW + MINUTE, NOT_BEFORE)
    assert stored(row).last_error == "Again."


@pytest.mark.parametrize("due_at", [None, NOW + HOUR])
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_scheduled_under_a_lease_survives_the_settling(due_at: datetime | None, count: int) -> None:
    """One and many rows are settled by different statements."""
    rows = [given(str(number)) for number in range(count)]
    claimed = claim()
    leases.schedule(ROWS(), at=NOW, now=NOW)
    assert claim() == []  # the worker keeps its lease
    assert leases.settle(claimed, due_at=due_at, now=NOW + MINUTE) == count
    for row in rows:
        assert columns_of(row) == (NOW, NOT_BEFORE, None, 1)


def test_it_survives_also_where_each_row_has_its_own_instant() -> None:
    asked, other = given("asked"), given("other")
    claimed = claim()
    leases.schedule(ROWS().filter(pk=asked.pk), at=NOW, now=NOW)
    leases.settle(claimed, due_at={asked.pk: NOW + HOUR, other.pk: NOW + HOUR}, now=NOW)
    assert [stored(row).due_at for row in (asked, other)] == [NOW, NOW + HOUR]


@pytest.mark.parametrize("count", [1, 2])
def test_finished_wins_where_the_model_says_so(count: int) -> None:
    rows = [given(str(number)) for number in range(count)]
    claimed = claim()
    leases.schedule(ROWS(), at=NOW, now=NOW)
    assert finish(*claimed, finished_wins=True) == count
    for row in rows:
        assert columns_of(row) == (None, None, None, 1)


def test_a_retry_keeps_an_earlier_date_also_where_finished_wins() -> None:
    row = given("one")
    claimed = claim()
    leases.schedule(ROWS(), at=NOW, now=NOW)
    leases.settle(claimed, due_at=NOW + HOUR, now=NOW, finished_wins=True)
    assert stored(row).due_at == NOW


# Renewing


def test_a_renewed_lease_ends_later() -> None:
    row = given("one")
    [claimed] = claim()
    assert leases.renew(claimed, now=NOW + MINUTE, lease=LEASE)
    assert columns_of(row) == (NOW + MINUTE + LEASE, NOT_BEFORE, NOW + MINUTE + LEASE, 1)
    assert claim(NOW + LEASE) == []


def test_renewing_keeps_what_was_scheduled() -> None:
    row = given("one")
    [claimed] = claim()
    leases.schedule(ROWS(), at=NOW, now=NOW)
    leases.renew(claimed, now=NOW + MINUTE, lease=LEASE)
    assert claim(NOW + LEASE) == []
    leases.settle([claimed], due_at=None, now=NOW + MINUTE)
    assert stored(row).due_at == NOW


def test_a_lost_claim_is_not_renewed() -> None:
    row = given("one")
    [late] = claim()
    claim(NOW + LEASE)
    assert not leases.renew(late, now=NOW + LEASE + MINUTE, lease=LEASE)
    assert stored(row).lease_until == NOW + 2 * LEASE


def test_a_lease_is_renewed_with_further_columns_while_a_condition_of_the_models_own_holds() -> None:
    row = given("one")
    [claimed] = claim()
    later: dict[str, Any] = {"now": NOW + MINUTE, "lease": LEASE, "last_error": "Begun."}
    assert not leases.renew(claimed, condition={"attempts": 7}, **later)
    assert (columns_of(row)[0], stored(row).last_error) == (NOW + LEASE, "")
    assert leases.renew(claimed, condition={"attempts": 0}, **later)
    assert columns_of(row) == (NOW + MINUTE + LEASE, NOT_BEFORE, NOW + MINUTE + LEASE, 1)
    assert stored(row).last_error == "Begun."


def test_a_clock_that_is_read_now_and_then_renews_the_lease() -> None:
    row, at = given("one"), [NOW]
    [claimed] = claim()
    clock = renewing(claimed, clock=lambda: at[0], lease=LEASE)
    at[0] = NOW + LEASE / 3 - SECOND
    assert clock() == at[0]
    assert stored(row).lease_until == NOW + LEASE
    at[0] = NOW + LEASE / 3
    clock()
    assert stored(row).lease_until == at[0] + LEASE
    at[0] += LEASE / 3 - SECOND
    assert clock() == at[0]
    assert stored(row).lease_until == NOW + LEASE / 3 + LEASE
    at[0] += SECOND
    clock()
    assert stored(row).lease_until == at[0] + LEASE


# Giving back


def test_rows_that_are_given_back_are_due_as_before_their_claim() -> None:
    late, early = given("late", due=-MINUTE), given("early", due=HOUR, early=MAY_BE_EARLY)
    kept = given("kept")
    claimed = claim()
    assert leases.release(row for row in claimed if row.pk != kept.pk) == 2
    assert columns_of(late) == (NOW - MINUTE, NOT_BEFORE, None, 1)
    assert columns_of(early) == (NOW + HOUR, MAY_BE_EARLY, None, 1)
    assert columns_of(kept) == (NOW + LEASE, NOT_BEFORE, NOW + LEASE, 1)
    assert names(claim()) == ["late", "early"]


def test_a_row_that_was_scheduled_under_the_lease_keeps_that_instant_when_it_is_given_back() -> None:
    asked, other = (
        given("asked", due=HOUR, early=MAY_BE_EARLY),
        given("other", due=MINUTE, early=MAY_BE_EARLY),
    )
    claimed = claim()
    leases.schedule(ROWS().filter(pk=asked.pk), at=NOW + SECOND, now=NOW)
    assert leases.release(claimed) == 2
    assert columns_of(asked) == (NOW + SECOND, NOT_BEFORE, None, 1)
    assert columns_of(other) == (NOW + MINUTE, MAY_BE_EARLY, None, 1)


def test_what_is_not_claimed_or_not_any_more_is_not_given_back(django_assert_num_queries: Any) -> None:
    row = given("one")
    with django_assert_num_queries(0):
        assert leases.release([]) == leases.release([row]) == 0
    late = claim()
    claim(NOW + LEASE)
    assert leases.release(late) == 0
    assert columns_of(row) == (NOW + 2 * LEASE, NOT_BEFORE, NOW + 2 * LEASE, 2)


# Postponing


def test_postponing_moves_free_rows_and_leaves_leased_ones() -> None:
    leased, free, early = given("leased", due=-MINUTE), given("free"), given("early", early=MAY_BE_EARLY)
    claim(limit=1)
    assert leases.postpone(ROWS(), until=NOW + HOUR, now=NOW) == 2
    assert columns_of(leased) == (NOW + LEASE, NOT_BEFORE, NOW + LEASE, 1)
    for row in (free, early):
        assert columns_of(row) == (NOW + HOUR, NOT_BEFORE, None, 0)


def test_each_row_may_be_postponed_to_its_own_instant() -> None:
    first, second, other = given("first", early=MAY_BE_EARLY), given("second"), given("other")
    until = {first.pk: NOW + MINUTE, second.pk: NOW + HOUR}
    leases.postpone(ROWS(), until=until, now=NOW)
    assert [stored(row).due_at for row in (first, second, other)] == [NOW + MINUTE, NOW + HOUR, NOW]
    assert stored(first).early == NOT_BEFORE
    assert leases.postpone(ROWS(), until={}, now=NOW) == 0


@pytest.mark.parametrize("until", [NOW + HOUR, F("received_at") + HOUR])
def test_an_update_of_other_columns_postpones_the_free_rows_that_meet_a_condition(until: Any) -> None:
    leased, free, early = given("leased", due=-MINUTE), given("free"), given("early", early=MAY_BE_EARLY)
    other = given("other", due=SECOND, early=MAY_BE_EARLY)
    ended = given("ended", due=2 * MINUTE)
    ROWS().filter(pk=ended.pk).update(lease_until=NOW)
    claim(limit=1)
    postponed = leases.postponed_columns(until=until, condition=~Q(pk=other.pk), now=NOW)
    ROWS().update(last_error="Read.", **postponed)
    assert columns_of(leased) == (NOW + LEASE, NOT_BEFORE, NOW + LEASE, 1)
    assert columns_of(other) == (NOW + SECOND, MAY_BE_EARLY, None, 0)
    for row in (free, early, ended):
        assert columns_of(row) == (NOW + HOUR, NOT_BEFORE, None, 0)
    assert set(ROWS().values_list("last_error", flat=True)) == {"Read."}


def test_no_row_is_none_written() -> None:
    none = ROWS().filter(event_id="unknown")
    assert leases.schedule(none, at=NOW, now=NOW) == 0
    assert leases.postpone(none, until=NOW, now=NOW) == 0


@pytest.mark.django_db(transaction=True)
def test_rows_are_locked_and_written_in_the_present_transaction_or_in_one_of_their_own() -> None:
    row = given("one")
    with CaptureQueriesContext(connection) as queries:
        assert leases.schedule(ROWS(), at=NOW - MINUTE, now=NOW) == 1
    statements = [query["sql"].split()[0] for query in queries]
    assert statements == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert stored(row).due_at == NOW - MINUTE

    with transaction.atomic():  # one that is there is used
        assert leases.schedule(ROWS(), at=NOW - HOUR, now=NOW) == 1
    assert stored(row).due_at == NOW - HOUR


# Clocks that were wrong


def test_no_date_and_no_lease_is_written_beyond_the_longest_delay() -> None:
    row, far = given("one"), NOW + 2 * MAX_DELAY
    [claimed] = leases.claim(ROWS(), now=NOW, lease=2 * MAX_DELAY, limit=1)
    assert stored(row).lease_until == NOW + MAX_DELAY
    leases.renew(claimed, now=NOW, lease=2 * MAX_DELAY)
    assert stored(row).lease_until == NOW + MAX_DELAY
    writes: list[Any] = [
        lambda: leases.settle([claimed], due_at=far, now=NOW),
        lambda: leases.settle(claim(NOW + MAX_DELAY), due_at={row.pk: far + MAX_DELAY}, now=NOW),
        lambda: leases.postpone(ROWS(), until=far, now=NOW),
        lambda: leases.postpone(ROWS(), until={row.pk: far}, now=NOW),
        lambda: leases.schedule(ROWS(), at=far, now=NOW),
    ]
    for write in writes:
        write()
        assert stored(row).due_at == NOW + MAX_DELAY


def test_a_date_that_a_wrong_clock_wrote_counts_as_past() -> None:
    given("ahead", due=MAX_DELAY + SECOND)
    given("longest", due=MAX_DELAY)
    given("due")
    assert leases.count_due(ROWS(), now=NOW) == 2
    assert names(claim()) == ["due", "ahead"]


@pytest.mark.parametrize(
    ("due", "past"),
    [
        (-SECOND, True),
        (timedelta(0), True),
        (SECOND, False),
        (MAX_DELAY, False),
        (MAX_DELAY + SECOND, True),
    ],
)
def test_a_row_is_past_once_its_date_has_come_or_where_a_wrong_clock_wrote_it(
    due: timedelta, past: bool
) -> None:
    assert given("one", due=due).is_past(now=NOW) is past


def test_a_finished_row_is_not_past() -> None:
    assert not given_finished("one").is_past(now=NOW)


def test_a_row_that_is_due_for_two_reasons_is_claimed_once() -> None:
    given("one", due=MAX_DELAY + SECOND, early=MAY_BE_EARLY)
    assert names(claim()) == ["one"]


def test_a_lease_that_a_wrong_clock_wrote_counts_as_past() -> None:
    row = given("one")
    claim(NOW + 2 * MAX_DELAY)
    assert stored(row).fence == 1
    assert names(claim()) == ["one"]


# Backing off


@pytest.mark.parametrize(("failures", "most"), [(0, 30), (1, 30), (2, 60), (3, 120), (9, 3600), (500, 3600)])
@pytest.mark.sqlite_only
def test_waits_double_up_to_the_longest_with_full_jitter(failures: int, most: int) -> None:
    bounds = {"first": timedelta(seconds=30), "longest": HOUR}
    assert retries.back_off_ceiling(failures, **bounds) == timedelta(seconds=most)
    waits = [retries.back_off(failures, **bounds) for _ in range(50)]
    assert all(timedelta(0) <= wait <= timedelta(seconds=most) for wait in waits)
    assert max(waits) > timedelta(seconds=most) / 2 > min(waits)  # fails once in 2**49 runs
