"""What the sweeps ask of a budget with a long history: a range of an index, in the order of what is due.

PostgreSQL prefers to read a small table as a whole and to sort it. It is kept from that here, so that a plan
which does it all the same has no index to use.
"""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.assignments import expiry, reminders
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Account, Budget
from bursary.dashboard import budget_pages
from tests import many, world
from tests.once import made_once
from tests.world import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql", because="it reads its plans")]

ROWS = 1_000
DUE = 40
TABLE = LearnerContentAssignment._meta.db_table


@pytest.fixture(scope="module")
def history(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Make a budget with a long history, once for all tests; PostgreSQL reads no table as a whole."""
    with made_once(django_db_blocker):
        _fill()
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
            for way in ("seqscan", "bitmapscan"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
        yield


def _fill() -> None:
    """Let little be due of a long history: some in each state that a sweep looks for."""
    for number in range(3):
        world.given_budget(name=f"Empty {number}")
    budget = world.given_budget(name="Many")
    many.fill(budget, ROWS)
    rows = LearnerContentAssignment.objects.all()
    past, far = NOW - timedelta(days=1), NOW + timedelta(days=36500)
    rows.update(expires_at=past, nudge_at=far, remind_at=far)
    rows.filter(state=State.ALLOCATED).update(expires_at=far)
    for state, columns in (
        (State.ACCEPTED, {"nudge_at": past}),
        (State.ALLOCATED, {"nudge_at": past, "remind_at": past, "expires_at": past}),
    ):
        pks = list(rows.filter(state=state).values_list("pk", flat=True)[:DUE])
        rows.filter(pk__in=pks).update(**columns)
    Account.objects.update(reserved_cents=10**9)
    Budget.objects.update(reserved_cents=10**9)


SWEEPS: dict[str, Callable[[], object]] = {
    "assignment_to_remind": lambda: reminders.remind_due(now=NOW),
    "assignment_to_nudge": lambda: reminders.nudge_due(now=NOW),
    "assignment_to_expire": lambda: expiry.expire_due(now=NOW),
}


@pytest.mark.usefixtures("history")
def test_a_sweep_reads_what_is_due_from_an_index_in_its_order(subtests: pytest.Subtests) -> None:
    for index, sweep in SWEEPS.items():
        with subtests.test(index):
            with CaptureQueriesContext(connection) as queries:
                sweep()
            asked = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
            finding = [sql for sql in asked if f'FROM "{TABLE}"' in sql and "LIMIT" in sql]
            assert len(finding) >= 3  # the budgets, a batch of one, and the budgets again
            for sql in finding:
                with connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN {sql}")
                    plan = "\n".join(line for (line,) in cursor.fetchall())
                assert index in plan, plan
                assert not re.search(rf"Seq Scan on {TABLE}\b", plan), plan
                assert not re.search(r"Sort Key: .*_at", plan), plan  # what is due comes sorted


@pytest.mark.usefixtures("history")
def test_what_comes_free_is_added_up_from_the_index_of_what_expires() -> None:
    """Of the deadlines in these weeks, most are of what was accepted or ended: an index of all reads more."""
    budget = Budget.objects.get(name="Many")
    rows, next_week = LearnerContentAssignment.objects.filter(budget=budget), NOW + timedelta(days=7)
    rows.exclude(state=State.ALLOCATED).update(expires_at=next_week)
    open_ones = rows.filter(state=State.ALLOCATED).values_list("pk", flat=True)[:DUE]
    rows.filter(pk__in=list(open_ones)).update(expires_at=next_week)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    ada = world.given_user(Role.ADMINISTRATOR, customer=budget.customer)
    with CaptureQueriesContext(connection) as queries:
        budget_pages.load(ada, budget.uuid, now=NOW)
    [summing] = [query["sql"] for query in queries if "SUM(" in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {summing}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Only Scan using assignment_to_expire" in plan, plan
