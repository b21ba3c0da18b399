"""Pages of a budget with thousands of assignments: few queries, and each a range of an index.

PostgreSQL prefers to read a small table as a whole. It is kept from that here, so that a plan which does it
all the same has no index to use. `bench/pages.py` measures how long the pages take.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.assignments import searches
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.statuses import STATUSES
from bursary.budgets.models import Budget
from bursary.dashboard import assignment_list
from bursary.dashboard.assignment_filters import SORTS
from tests import many, world
from tests.once import made_once

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql", because="it reads its plans")]

ROWS = 1_000
TABLE = LearnerContentAssignment._meta.db_table
WHOLE = re.compile(rf"Seq Scan on {TABLE}\b")


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Budget]:
    """Fill a budget once for all tests: they read."""
    with made_once(django_db_blocker):
        budget = world.given_budget(name="Many")
        many.fill(budget, ROWS)
        yield budget


@pytest.fixture
def budget(filled: Budget, client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Budget]:
    """A budget with many assignments; its administrator is signed in, and no table is read as a whole.

    A page of the list has few of them: most of the time would go into writing its rows.
    """
    monkeypatch.setattr(assignment_list, "PAGE", 5)
    budget = Budget.objects.get(pk=filled.pk)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        yield budget
        cursor.execute("RESET enable_seqscan")


def plans(client: Client, address: str) -> list[str]:
    """Return the plan of each statement about assignments that a page needs: at most twelve."""
    return answer_and_plans(client, address)[1]


def answer_and_plans(client: Client, address: str) -> tuple[str, list[str]]:
    """Return a page as well, for the links on it."""
    with CaptureQueriesContext(connection) as queries:
        answer: Any = client.get(address)
        text = answer.getvalue().decode()
    assert answer.status_code == 200, address
    assert len(queries) <= 12, address
    found = []
    for query in queries.captured_queries:
        if f'FROM "{TABLE}"' in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {query['sql']}")
                found.append("\n".join(line for (line,) in cursor.fetchall()))
    return text, found


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
        text, first = answer_and_plans(client, f"/assignments/?sort={sort}")
        later = re.search(r'rel="next" href="\?(.*?)"', text)
        assert later
        for found in (first, plans(client, "/assignments/?" + later.group(1).replace("&amp;", "&"))):
            (page, *_others) = [plan for plan in found if plan.startswith("Limit")]
            assert "Sort" not in page, f"{sort}\n{page}"
            assert not WHOLE.search(page), f"{sort}\n{page}"


def test_the_counts_come_from_an_index_alone(client: Client, budget: Budget) -> None:
    with connection.cursor() as cursor:  # what a vacuum finds, which cannot run in the test's transaction
        cursor.execute(f"UPDATE pg_class SET relallvisible = relpages WHERE oid = '{TABLE}'::regclass")
    counts = [plan for plan in plans(client, "/assignments/") if "Aggregate" in plan.splitlines()[0]]
    assert f"Index Only Scan using assignment_counts on {TABLE}" in counts[0], counts[0]


def test_a_search_is_read_from_trigrams_once_and_then_by_primary_keys(
    client: Client, budget: Budget, subtests: pytest.Subtests
) -> None:
    with connection.cursor() as cursor:  # of so few rows, those of the budget cost less than trigrams
        cursor.execute(f"UPDATE pg_class SET reltuples = 1000000 WHERE oid = '{TABLE}'::regclass")
        cursor.execute("SELECT gin_clean_pending_list(%s::regclass)", [searches.INDEX])  # as a vacuum does
    api = reverse("assignments", args=[budget.assignment_configuration_uuid])
    for term in (
        "learner-77",
        "learner-77@many.example",
        "course learner-77",
        "no such thing",
        "nosuchthing",
    ):
        for address in (
            f"/assignments/?search={term}",
            f"{api}?search={term}",
            f"{api}?search={term}&cursor=",
        ):
            with subtests.test(address):
                first, *others = plans(client, address)
                assert f"Bitmap Index Scan on {searches.INDEX}" in first, first
                assert bool(others) != ("such" in term)
                for plan in (first, *others):
                    assert not WHOLE.search(plan), plan


def test_of_a_search_that_finds_many_the_number_is_estimated_and_said_to_be(
    client: Client, budget: Budget, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr(searches, "MAX_COUNTED", 100)
    api = reverse("assignments", args=[budget.assignment_configuration_uuid])
    with subtests.test("the API"):
        body = client.get(api, {"search": "many.example"}).json()
        assert (body["count"], body["count_is_estimated"], body["num_pages"]) == (1_000, True, 10)
        waiting = budget.assignments.filter(learner_state=1).count()
        [shown] = [one["count"] for one in body["learner_state_counts"] if one["learner_state"] == "waiting"]
        assert shown == pytest.approx(waiting, rel=0.1)
    with subtests.test("the API, of what it counts"):
        few = client.get(api, {"search": "many.example", "learner_state": "failed"}).json()
        failed = budget.assignments.filter(learner_state=3).count()
        assert (few["count"], "count_is_estimated" in few) == (failed, False)
        assert "count_is_estimated" not in client.get(api).json()
    with subtests.test("the page"):
        text = client.get("/assignments/?search=many.example").content.decode()
        assert "About 1,000 assignments, estimated." in text
        assert "all that the filter finds, about 1,000: they are counted before anything is done" in text
        assert "$" not in text[text.index('class="found"') :][:200]  # money is not estimated
    with subtests.test("a status of it that is counted"):
        text = client.get("/assignments/?search=many.example&status=failed").content.decode()
        assert f"all {failed} that the filter finds" in text
        assert "About" not in text
    with subtests.test("work on all of it asks with the exact number"):
        asked = {"verb": "cancel", "everything": "yes", "query": "search=many.example"}
        text = client.post("/assignments/selected/", asked, follow=True).content.decode()
        still_open = budget.assignments.filter(state="allocated", learner_email__contains="many").count()
        assert f"Cancel {still_open} assignments" in text


def test_sums_by_month_of_assignment_come_from_an_index_alone(client: Client, budget: Budget) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE pg_class SET relallvisible = relpages WHERE oid = '{TABLE}'::regclass")
        cursor.execute("SET LOCAL enable_bitmapscan = off")  # of so few rows a bitmap costs about the same
    (summing,) = plans(client, f"/assignments/totals/sums/?budget={budget.uuid}")
    assert f"Index Only Scan using assignment_by_price on {TABLE}" in summing, summing


def test_what_was_spent_comes_from_indexes_alone(client: Client, budget: Budget) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE pg_class SET relallvisible = relpages WHERE oid = '{TABLE}'::regclass")
        cursor.execute("SET LOCAL enable_bitmapscan = off")  # of so few rows a bitmap costs about the same
    sums = [plan for plan in plans(client, f"/budgets/{budget.uuid}/spent/") if "Aggregate" in plan]
    by_learner, _of_those_shown, by_course = sums
    for plan, index in ((by_course, "spent_by_key"), (by_learner, "spent_by_learner")):
        assert f"Index Only Scan using {index} on {TABLE}" in plan, plan
