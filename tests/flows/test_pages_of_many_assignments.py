"""Pages of a budget with thousands of assignments: few queries, and each a range of an index.

PostgreSQL prefers to read a small table as a whole. It is kept from that here, so that a plan which does it
all the same has no index to use. `bench/pages.py` measures how long the pages take.
"""

import re
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.statuses import STATUSES
from bursary.budgets.models import Budget
from bursary.dashboard.assignment_filters import SORTS
from tests import many, world

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql", because="it reads its plans")]

ROWS = 1_000
TABLE = LearnerContentAssignment._meta.db_table
WHOLE = re.compile(rf"Seq Scan on {TABLE}\b")


@pytest.fixture
def budget(client: Client) -> Iterator[Budget]:
    """A budget with many assignments; its administrator is signed in, and no table is read as a whole."""
    budget = world.given_budget(name="Many")
    many.fill(budget, ROWS)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        yield budget
        cursor.execute("RESET enable_seqscan")


def plans(client: Client, address: str) -> list[str]:
    """Return the plan of each statement about assignments that a page needs: at most twelve."""
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200, address
    assert len(queries) <= 12, address
    found = []
    for query in queries.captured_queries:
        if f'FROM "{TABLE}"' in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {query['sql']}")
                found.append("\n".join(line for (line,) in cursor.fetchall()))
    return found


def test_no_page_reads_all_assignments_of_the_database(client: Client, budget: Budget) -> None:
    first = LearnerContentAssignment.objects.filter(budget=budget).latest("pk")
    listed = f"/assignments/?budget={budget.uuid}"
    pages = [
        *("/", "/budgets/", f"/budgets/{budget.uuid}/", f"/assignments/{first.uuid}/"),
        *(f"{listed}&status={status}" for status in STATUSES),
        *(f"{listed}&{query}" for query in ("within=7", "cause=address_rejected", "price_from=100")),
    ]
    for address in pages:
        for plan in plans(client, address):
            assert not WHOLE.search(plan), f"{address}\n{plan}"


def test_each_sort_is_an_index_in_its_order_also_deep_in_the_list(client: Client, budget: Budget) -> None:
    for sort in [sign + column for column in SORTS for sign in ("", "-")]:
        address = f"/assignments/?sort={sort}"
        text = client.get(address).content.decode()
        later = re.search(r'rel="next" href="\?(.*?)"', text)
        assert later
        for asked in (address, "/assignments/?" + later.group(1).replace("&amp;", "&")):
            (page, *_others) = [plan for plan in plans(client, asked) if plan.startswith("Limit")]
            assert "Sort" not in page, f"{asked}\n{page}"
            assert not WHOLE.search(page), f"{asked}\n{page}"


def test_the_counts_come_from_an_index_alone(client: Client, budget: Budget) -> None:
    with connection.cursor() as cursor:  # what a vacuum finds, which cannot run in the test's transaction
        cursor.execute(f"UPDATE pg_class SET relallvisible = relpages WHERE oid = '{TABLE}'::regclass")
    counts = [plan for plan in plans(client, "/assignments/") if "Aggregate" in plan.splitlines()[0]]
    assert f"Index Only Scan using assignment_counts on {TABLE}" in counts[0], counts[0]


def test_a_search_that_finds_little_looks_at_the_rows_once(client: Client, budget: Budget) -> None:
    searching = [plan for plan in plans(client, "/assignments/?search=learner-77%40") if "~~" in plan]
    assert len(searching) == 1


def test_what_was_spent_comes_from_indexes_alone(client: Client, budget: Budget) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE pg_class SET relallvisible = relpages WHERE oid = '{TABLE}'::regclass")
        cursor.execute("SET LOCAL enable_bitmapscan = off")  # of so few rows a bitmap costs about the same
    sums = [plan for plan in plans(client, f"/budgets/{budget.uuid}/spent/") if "Aggregate" in plan]
    by_learner, _of_those_shown, by_course = sums
    for plan, index in ((by_course, "spent_by_key"), (by_learner, "spent_by_learner")):
        assert f"Index Only Scan using {index} on {TABLE}" in plan, plan
