"""Leased rows, tried on the inbox: claimed once, settled by the newest claim, never lost."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext

from bursary.events.models import EventKind, EventOutcome, EventSource, InboxEvent
from bursary.lib import leases
from bursary.lib.leases import MAX_DELAY, MAY_BE_EARLY, NOT_BEFORE
from tests.world import NOW

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LEASE = 5 * MINUTE
ROWS = InboxEvent.objects.all


def given(name: str, *, due: timedelta = timedelta(0), early: int = NOT_BEFORE) -> InboxEvent:
    """Create a row that is due at `NOW + due`, or early."""
    return InboxEvent.objects.create(
        source=EventSource.BUS,
        event_id=name,
        kind=EventKind.CONTENT_CHANGED,
        received_at=NOW,
        due_at=NOW + due,
        early=early,
    )


def given_finished(name: str) -> InboxEvent:
    return InboxEvent.objects.create(
        source=EventSource.BUS, event_id=name, kind=EventKind.UNREADABLE, received_at=NOW, settled_at=NOW
    )


def claim(at: datetime = NOW, *, limit: int = 10, **columns: object) -> list[InboxEvent]:
    return leases.claim(ROWS(), now=at, lease=LEASE, limit=limit, **columns)


def finish(*rows: InboxEvent, at: datetime = NOW, finished_wins: bool = True) -> int:
    return leases.settle(
        rows, due_at=None, now=at, finished_wins=finished_wins, settled_at=at, outcome=EventOutcome.REVERSED
    )


def names(rows: Sequence[InboxEvent]) -> list[str]:
    return [row.event_id for row in rows]


def stored(row: InboxEvent) -> InboxEvent:
    return InboxEvent.objects.get(pk=row.pk)


def columns_of(row: InboxEvent) -> tuple[datetime | None, int | None, datetime | None, int]:
    found = stored(row)
    return found.due_at, found.early, found.lease_until, found.fence


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
    assert leases.count_due(ROWS(), now=NOW, most=1) == 1
    assert leases.first_due(ROWS(), now=NOW, limit=5)[1:] == [early.pk]
    assert leases.oldest_due(ROWS(), now=NOW) == NOW - MINUTE
    claim()
    assert leases.count_due(ROWS(), now=NOW) == 0
    assert leases.oldest_due(ROWS(), now=NOW + HOUR) == NOW + MINUTE
    assert not leases.any_due(ROWS(), now=NOW)
    leases.schedule(ROWS().exclude(lease_until=None), at=NOW, now=NOW)
    assert leases.oldest_due(ROWS(), now=NOW) is None  # both have a worker


# Settling


def test_settling_writes_the_outcome_and_frees_the_row() -> None:
    row = given("one")
    assert finish(*claim()) == 1
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


def test_among_many_rows_only_those_whose_claim_holds_are_settled() -> None:
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
    assert held(condition=Q(attempts=0)) == 0
    assert stored(row).lease_until == NOW + LEASE
    assert held(condition=Q(attempts=7)) == 1


def test_settling_no_row_is_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert leases.settle([], due_at=None, now=NOW) == 0


def test_a_row_is_discarded_by_the_worker_whose_claim_holds_and_by_no_other() -> None:
    row = given("one")
    [late] = claim()
    [second] = claim(NOW + LEASE)
    assert not leases.discard(late)
    assert stored(row).fence == 2
    assert leases.discard(second)
    assert not ROWS().exists()


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


def test_finished_wins_where_the_model_says_so() -> None:
    row = given("one")
    claimed = claim()
    leases.schedule(ROWS(), at=NOW, now=NOW)
    assert finish(*claimed, finished_wins=True) == 1
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


def test_a_clock_that_is_read_now_and_then_renews_the_lease() -> None:
    row, at = given("one"), [NOW]
    [claimed] = claim()
    clock = leases.renewing(claimed, clock=lambda: at[0], lease=LEASE)
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
    until = {NOW + MINUTE: [first.pk], NOW + HOUR: [second.pk]}
    leases.postpone(ROWS(), until=until, now=NOW)
    assert [stored(row).due_at for row in (first, second, other)] == [NOW + MINUTE, NOW + HOUR, NOW]
    assert stored(first).early == NOT_BEFORE
    assert leases.postpone(ROWS(), until={}, now=NOW) == 0


def test_no_row_is_none_written() -> None:
    none = ROWS().filter(event_id="unknown")
    assert leases.schedule(none, at=NOW, now=NOW) == 0
    assert leases.postpone(none, until=NOW, now=NOW) == 0


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_rows_are_locked_and_written_in_one_of_their_own() -> None:
    row = given("one")
    with CaptureQueriesContext(connection) as queries:
        assert leases.schedule(ROWS(), at=NOW - MINUTE, now=NOW) == 1
    statements = [query["sql"].split()[0] for query in queries]
    assert statements == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert stored(row).due_at == NOW - MINUTE


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
        lambda: leases.postpone(ROWS(), until={far: [row.pk]}, now=NOW),
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
def test_waits_double_up_to_the_longest_with_full_jitter(failures: int, most: int) -> None:
    bounds = {"first": timedelta(seconds=30), "longest": HOUR}
    assert leases.longest_back_off(failures, **bounds) == timedelta(seconds=most)
    waits = [leases.back_off(failures, **bounds) for _ in range(50)]
    assert all(timedelta(0) <= wait <= timedelta(seconds=most) for wait in waits)
    assert max(waits) > timedelta(seconds=most) / 2 > min(waits)  # fails once in 2**49 runs
