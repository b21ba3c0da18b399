"""What a page of 100 assignments costs over the API, against SQL by hand.

The floor reads what the page shows by three statements and writes it as JSON.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson
from django.db import connection
from django.test import Client
from django.urls import reverse

from bench.dialects import HERE
from bench.scales import Scale
from bench.stage import Case, Way, let_the_database_settle
from bursary.access.models import Role
from bursary.assignments import cursors, listing
from bursary.assignments.models import LearnerContentAssignment as Assignment
from bursary.assignments.models import LearnerContentAssignmentAction as Action
from tests import many, world

ROUNDS = 9
SIZE = 100

_HELD = (
    "EXISTS (SELECT 1 FROM replica_catalogmembership m WHERE m.content_id = a.content_id"
    " AND m.catalog_uuid = b.catalog_uuid)"
)
RAW = (
    "SELECT learner_state, count(*) FROM {assignments} WHERE budget_id = %(budget)s GROUP BY learner_state",
    "SELECT a.id, a.uuid, a.learner_email, a.content_key, a.parent_content_key, a.price_cents, a.state,"
    " a.transaction_uuid, a.expires_at, a.expires_reason, a.recent_action_at, a.allocated_at, a.cycle,"
    " a.learner_state, a.content_enroll_by, c.title, c.start_date, c.end_date, c.enroll_by, c.price_cents,"
    f" c.course_type, c.partners, c.checked_at, {_HELD},"
    " EXISTS (SELECT 1 FROM access_learnerlink l WHERE l.customer_id = b.customer_id"
    " AND l.mailbox_key = a.mailbox_key),"
    " (SELECT u.is_active FROM access_user u WHERE u.mailbox_key = a.mailbox_key LIMIT 1),"
    " (SELECT max({least}(coalesce(r.enroll_by, '9000-1-1'), coalesce(r.end_date, '9000-1-1')))"
    " FROM replica_contentmetadata r JOIN replica_catalogmembership m ON m.content_id = r.id"
    " WHERE r.parent_key = c.content_key AND r.content_type = 'courserun'"
    " AND m.catalog_uuid = b.catalog_uuid)"
    " FROM (SELECT id FROM {assignments} WHERE budget_id = %(budget)s"
    " ORDER BY recent_action_at DESC, id DESC LIMIT %(size)s OFFSET %(start)s) page"
    " JOIN {assignments} a USING (id) JOIN budgets_budget b ON b.id = a.budget_id"
    " LEFT JOIN replica_contentmetadata c ON c.id = a.content_id"
    " ORDER BY a.recent_action_at DESC, a.id DESC",
    "SELECT assignment_id, created, modified, uuid, action_type, completed_at, error_reason, status,"
    " error_code, cycle FROM {actions} WHERE assignment_id IN ({pks}) ORDER BY created, id",
)


class Stage:
    """A budget with so many assignments, and an administrator's client."""

    def __init__(self, count: int) -> None:
        self.budget = world.given_budget()
        ada = world.given_user(Role.ADMINISTRATOR, customer=self.budget.customer)
        if count:
            many.fill(self.budget, count)
        self.url = reverse("assignments", args=[self.budget.assignment_configuration_uuid])
        self.client = Client()
        self.client.force_login(ada)
        self.rows = Assignment.objects.filter(budget=self.budget)

    def raw(self, start: int, _given: object = None) -> list[Any]:
        """Read counts, a page with its content, and its actions; write them as JSON, and return them."""
        found: list[Any] = []
        asked = {"budget": self.budget.pk, "size": SIZE, "start": start}
        pks = ""
        with connection.cursor() as cursor:
            for statement in RAW:
                written = statement.format(
                    assignments=Assignment._meta.db_table,
                    actions=Action._meta.db_table,
                    least=HERE.least,
                    pks=pks,
                )
                cursor.execute(written, asked)
                found.append(cursor.fetchall())
                pks = ", ".join(str(row[0]) for row in found[-1])
        if not orjson.dumps(found, default=str):
            raise RuntimeError("There is no page.")
        return found

    def page(self, given: object = None, **query: str | int) -> Any:
        """Ask for a page, and return its body."""
        answer = self.client.get(self.url, query)
        if answer.status_code != 200:
            raise RuntimeError(answer.content[:300])
        return answer.json() if given == "read" else None

    def raw_counts(self, _given: object = None) -> list[tuple[int, int]]:
        """Return how many there are in each state, read by hand."""
        statement = (
            f"SELECT learner_state, count(*) FROM {Assignment._meta.db_table} WHERE budget_id = %s"
            " GROUP BY learner_state ORDER BY count(*) DESC, learner_state"
        )
        with connection.cursor() as cursor:
            cursor.execute(statement, [self.budget.pk])
            return list(cursor.fetchall())

    def counts(self, _given: object = None) -> list[tuple[int, int]]:
        """Return the same as the list does."""
        return list(listing.counts_by_learner_state(self.rows))

    def deep(self) -> str:
        """Return a cursor in the middle of the list."""
        middle = self.rows.count() // 2
        moments = self.rows.order_by("-recent_action_at").values_list("recent_action_at", flat=True)
        rest = self.rows.filter(recent_action_at__lte=moments[middle])
        found = cursors.cursor_page(rest, column="recent_action_at", descending=True, size=1)
        return str(found.later)


def cases(scale: Scale) -> Iterator[Case]:
    """Yield the cases of a list."""
    stage, count = Stage(scale.listed), scale.listed
    let_the_database_settle()

    def case(name: str, ours: Way, floor: Way | None, limits: str) -> Case:
        return Case(f"list, {name}", ours, floor, size=count, limits=limits, rounds=ROUNDS)

    page = partial(partial, stage.page)
    counted = (
        "What a request costs, as `one address` shows; then 100 rows with content, as objects that rules are"
        " asked of, and 300 actions: the floor leaves all as tuples. Not counting, see below."
        " Of some 15 ms, PostgreSQL takes 5, as the floor's does, and Python 10, the floor's 2: half of that"
        " is the request's, the other half 50 microseconds a row of the page."
    )
    middle = count // SIZE // 2
    first = Way(page(page=1))
    yield case("first page", first, Way(partial(stage.raw, 0)), counted)
    yield case("middle page", Way(page(page=middle)), Way(partial(stage.raw, (middle - 1) * SIZE)), counted)
    by_start = Way(page(page=1, ordering="content_start"))
    yield case("by start of content", by_start, first, f"{counted} The floor is the first page, ours.")
    begin, deep = Way(page(cursor="")), Way(page(cursor=stage.deep()))
    yield case("by cursor, deep", deep, begin, "As the first page, by cursor and ours, which is the floor.")
    one = Way(page(learner_email="learner-77@many.example"))
    looked_up = (
        "Nine statements: planning them, and what Django and its driver do for each; then a look-up. Of some"
        " 9.5 ms, PostgreSQL takes 3.9."
    )
    yield case("one address", one, None, looked_up)
    trigrams = "PostgreSQL has trigrams; the others read the budget's titles and addresses."
    for name, words in (("search", "learner-7777"), ("search, nothing", "no such thing")):
        yield case(name, Way(page(search=words, page_size=25)), None, trigrams)
    many_found = Way(page(search="many.example", page_size=25))
    yield case("search, everything", many_found, None, "PostgreSQL estimates the number; the others count.")
    limits = "Reading an index from end to end of the budget."
    counts, raw = Way(stage.counts), Way(stage.raw_counts)
    yield Case("counts by state", counts, raw, size=count, limits=limits, rounds=ROUNDS)
