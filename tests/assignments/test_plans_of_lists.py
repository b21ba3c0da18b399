"""What a list of assignments asks of a budget with thousands: ranges of indexes.

PostgreSQL prefers to read a small table as a whole and to sort it. It is kept from that here, so that a plan
which does it all the same has no index to use.
"""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.assignments.cursors import cursor_page
from bursary.assignments.listing import ORDERINGS, AssignmentFilters, counts_by_learner_state
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests import many, world

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql", because="it reads its plans")]

TABLE = LearnerContentAssignment._meta.db_table
FROM_CONTENT = {key for key, column in ORDERINGS.items() if "__" in column}
"""What is sorted by the content's own columns, as docs/api.md says: no index of assignments has them."""


def plan(budget: Budget, **asked: str) -> str:
    """Return the plan of the first page of a budget's list."""
    found = AssignmentFilters(asked, queryset=LearnerContentAssignment.objects.filter(budget=budget)).qs
    return str(found.values("pk")[:25].explain())


def test_a_list_is_read_from_indexes(subtests: pytest.Subtests) -> None:
    budget = world.given_budget(name="Many")
    many.fill(budget, 1_000)
    with connection.cursor() as cursor:
        for way in ("seqscan", "bitmapscan"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
    for key in ORDERINGS.keys() - FROM_CONTENT:
        for ordering in (key, f"-{key}"):
            with subtests.test("an index in the list's order", ordering=ordering):
                assert "Sort" not in plan(budget, ordering=ordering)
    with subtests.test("counts of a state, from an index alone"):
        rows = LearnerContentAssignment.objects.filter(budget=budget)
        found = str(
            counts_by_learner_state(AssignmentFilters({"state": "allocated"}, queryset=rows).qs).explain()
        )
        assert "Index Only Scan using assignment_counts" in found, found
    with subtests.test("a page by cursor, from an index in its order"):
        with CaptureQueriesContext(connection) as queries:
            first = cursor_page(rows, column="recent_action_at", descending=True, size=25)
            cursor_page(rows, column="recent_action_at", descending=True, size=25, cursor=first.later)
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {queries[-1]['sql']}")
            found = "\n".join(line for (line,) in cursor.fetchall())
        assert "using assignment_by_action" in found, found
        assert "Sort" not in found, found
    with subtests.test("of an address, by the keys of its mailbox"):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_bitmapscan = on")
        found = plan(budget, learner_email="Learner-77@many.example")
        assert "assignment_of_mailbox" in found, found
        assert not re.search(rf"Seq Scan on {TABLE}\b", found), found
