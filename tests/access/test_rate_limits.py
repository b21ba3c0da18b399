"""POSTs are counted for all processes, in one row a caller; GETs in the process that answers them."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access import rate_limits
from bursary.access.models import RequestTally
from bursary.access.rate_limits import KEPT_FOR, ProcessTally, count_post
from bursary.ops import scheduler
from tests.together import together
from tests.world import NOW

RETENTION = [task for task in scheduler.TASKS if task.name == "retention"]
MINUTE = timedelta(minutes=1)

pytestmark = pytest.mark.django_db


def test_a_caller_that_has_sent_its_posts_waits_for_the_next_minute() -> None:
    late = NOW + timedelta(seconds=47)
    assert [count_post("user 1", limit=2, now=late) for _ in range(3)] == [0, 0, 13]
    assert count_post("user 2", limit=2, now=late) == 0
    assert [count_post("user 1", limit=2, now=NOW + MINUTE) for _ in range(3)] == [0, 0, 60]
    assert RequestTally.objects.get(caller="user 1").count == 2


def test_a_known_caller_costs_one_statement_on_its_row() -> None:
    count_post("key 1", limit=9, now=NOW)
    with CaptureQueriesContext(connection) as asked:
        count_post("key 1", limit=9, now=NOW)
    assert [one["sql"].split()[0] for one in asked if "SAVEPOINT" not in one["sql"]] == ["UPDATE"]


def test_a_clock_that_is_behind_counts_on_and_one_that_was_ahead_is_forgotten() -> None:
    count_post("key 1", limit=2, now=NOW)
    assert [count_post("key 1", limit=2, now=NOW - MINUTE) for _ in range(2)] == [0, 120]
    assert [count_post("key 1", limit=2, now=NOW + wait) for wait in (MINUTE - MINUTE / 60, MINUTE)] == [1, 0]
    RequestTally.objects.update(minute=2**31 - 1)
    assert count_post("key 1", limit=2, now=NOW) == 0


def test_the_daily_task_deletes_tallies_of_another_day() -> None:
    for caller, now in (("old", NOW - KEPT_FOR - MINUTE), ("ahead", NOW + 2 * KEPT_FOR), ("new", NOW)):
        count_post(caller, limit=1, now=now)
    assert scheduler.run_due(clock=partial(max, NOW, NOW), tasks=RETENTION) == ["retention"]
    assert [row.caller for row in RequestTally.objects.all()] == ["new"]
    assert rate_limits.delete_old(now=NOW) == 0


@pytest.mark.django_db(transaction=True)
def test_of_ten_at_the_same_moment_as_many_pass_as_may() -> None:
    for number, (limit, passed) in enumerate(((4, 4), *[(10, 10)] * 5)):  # each time of a new caller
        waits = together([lambda: count_post(f"key {number}", limit=limit, now=NOW)] * 10)  # noqa: B023  # called at once
        assert (waits.count(0), waits.count(60)) == (passed, 10 - passed)


def test_a_process_counts_by_caller_and_minute_and_holds_one_minute_alone() -> None:
    tally = ProcessTally()
    assert [tally.count("user 1", limit=2, seconds=59.5) for _ in range(3)] == [0, 0, 1]
    assert tally.count("user 2", limit=2, seconds=59.5) == 0
    assert tally.count("user 1", limit=2, seconds=60.0) == 0
    assert dict(tally._counts) == {"user 1": 1}
