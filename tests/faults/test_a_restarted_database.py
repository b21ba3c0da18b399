"""A database server that is restarted during a sweep or between mails: the threads go on when it is back."""

import itertools
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q
from django.test import TransactionTestCase

from bursary.assignments import sweeps
from bursary.assignments.choices import UNFINISHED, ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.delivery import runner
from bursary.lib.clock import Clock
from bursary.lib.threads import PollingThread
from bursary.ops import scheduler
from bursary.ops.models import ScheduledTask
from tests import world
from tests.elapsed import PATIENCE
from tests.emptying import empty_tables
from tests.faults.restartable_server import RestartableServer, restartable_server
from tests.smtp import MailServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_row_locks, pytest.mark.takes_long]

logger = logging.getLogger(__name__)

HOUR = timedelta(hours=1)
OVER = world.NOW + timedelta(days=90)


@pytest.fixture(scope="module")
def own_server(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RestartableServer]:
    with restartable_server(tmp_path_factory.mktemp("own"), copying=connection.settings_dict) as server:
        yield server


@pytest.fixture
def restartable(own_server: RestartableServer) -> Iterator[RestartableServer]:
    """A server that no other test uses, with every table and no row; the service is connected to it."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(own_server.settings)  # which all threads have
    empty_tables(TransactionTestCase())
    yield own_server
    connection.close()
    connection.settings_dict.update(before)


def carried_out(
    work: Callable[[Clock], Any], server: RestartableServer, *, restart_at: str, until: Q
) -> None:
    """Let a thread do `work` as it does in a server's process, until all actions fit `until`.

    The database is restarted before the second statement that `restart_at` describes. From then on each round
    is an hour later, so that leases and pauses have ended.
    """
    statement = re.compile(restart_at)
    met = itertools.count(1)
    restarted, done = threading.Event(), threading.Event()
    time = [OVER]

    def restarting(execute: Any, sql: str, *rest: Any) -> Any:
        if statement.match(sql.replace("`", '"')) and next(met) == 2:
            server.stop()
            server.start()
            restarted.set()
        return execute(sql, *rest)

    def round_of_work() -> int:
        if restarted.is_set():
            time.append(time[-1] + HOUR)
        with connection.execute_wrapper(restarting):
            work(lambda: time[-1])
        if not LearnerContentAssignmentAction.objects.exclude(until).exists():
            done.set()
        return 0

    thread = PollingThread("rounds", round_of_work, seconds=0.05, failure="A round failed", log=logger)
    thread.start()
    try:
        assert done.wait(PATIENCE)
    finally:
        thread.stop()
        thread.join(PATIENCE)
    assert restarted.is_set()
    connection.close()  # ours, from before the restart


def test_a_sweep_in_which_the_database_is_restarted_ends_as_if_it_had_not_been(
    restartable: RestartableServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "BATCH", 2)
    budget = world.given_budget(seats=5)
    world.allocate(budget, world.given_content(), *world.addresses(5))
    [expire] = [task for task in scheduler.TASKS if task.name == "expire"]

    carried_out(
        lambda clock: scheduler.run_due(clock=clock, tasks=[expire]),
        restartable,
        restart_at='UPDATE "budgets_budget"',
        until=~Q(status__in=UNFINISHED, action_type=ActionType.NOTIFIED),
    )
    assert LearnerContentAssignment.objects.filter(state=State.EXPIRED).count() == 5
    facts = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.EXPIRED)
    assert (facts.count(), facts.values("assignment").distinct().count()) == (5, 5)
    budget.refresh_from_db()
    assert (budget.reserved_cents, budget.spent_cents) == (0, 0)
    assert ScheduledTask.objects.get(name="expire").last_error == ""


def test_mails_during_which_the_database_is_restarted_all_arrive_and_the_one_in_doubt_twice(
    restartable: RestartableServer, mail: MailServer
) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(4), now=OVER)
    rows = LearnerContentAssignmentAction.objects.all()

    carried_out(
        lambda clock: runner.drain(clock=clock, limit=100),
        restartable,
        restart_at='UPDATE "assignments_learnercontentassignmentaction" .*"provider_ref" = ',
        until=Q(status=Status.DONE),
    )
    arrived = Counter(str(message["Message-ID"]) for message in mail.received)
    mails = rows.filter(action_type=ActionType.NOTIFIED)
    assert arrived == {one.provider_ref: one.attempts for one in mails}
    assert sorted(arrived.values()) == [1, 1, 1, 2]
