"""What a page of 100 assignments costs over the API, against SQL by hand.

Usage: `python bench/lists.py [--assignments 10000]`. One JSON line a case, in milliseconds of processor time.
The floor reads what the page shows by five statements and writes it as JSON.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from stage import Figure, main, side_by_side, vacuum

ROUNDS = 15
TO_FLOOR, MORE_MS = 2.0, 4.0
SIZE = 100
COUNTS_MS = 90.0
ADDRESS_MS = 10.0

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
    " (SELECT max(least(coalesce(r.enroll_by, '9000-1-1'), coalesce(r.end_date, '9000-1-1')))"
    " FROM replica_contentmetadata r JOIN replica_catalogmembership m ON m.content_id = r.id"
    " WHERE r.parent_key = c.content_key AND r.content_type = 'courserun'"
    " AND m.catalog_uuid = b.catalog_uuid)"
    " FROM (SELECT id FROM {assignments} WHERE budget_id = %(budget)s"
    " ORDER BY recent_action_at DESC, id DESC LIMIT %(size)s OFFSET %(start)s) page"
    " JOIN {assignments} a USING (id) JOIN budgets_budget b ON b.id = a.budget_id"
    " LEFT JOIN replica_contentmetadata c ON c.id = a.content_id"
    " ORDER BY a.recent_action_at DESC, a.id DESC",
    "SELECT assignment_id, created, modified, uuid, action_type, completed_at, error_reason, status,"
    " error_code, cycle FROM {actions} WHERE assignment_id = ANY(%(pks)s) ORDER BY created, id",
)


class Stage:
    """A budget with so many assignments, and an administrator's client."""

    def __init__(self, count: int) -> None:
        from django.test import Client  # noqa: PLC0415  # needs the settings
        from django.urls import reverse  # noqa: PLC0415  # needs the settings

        from bursary.access.models import Role  # noqa: PLC0415  # needs the settings
        from tests import many, world  # noqa: PLC0415  # needs the settings

        self.count = count
        self.budget = world.given_budget()
        ada = world.given_user(Role.ADMINISTRATOR, customer=self.budget.customer, username="ada")
        many.fill(self.budget, count)
        self.url = reverse("assignments", args=[self.budget.assignment_configuration_uuid])
        self.client = Client()
        self.client.force_login(ada)
        vacuum()

    def raw(self, start: int) -> None:
        """Read a page, its content, actions and counts, and write it as JSON."""
        import orjson  # noqa: PLC0415  # what the application uses
        from django.db import connection  # noqa: PLC0415  # needs the settings

        from bursary.assignments.models import LearnerContentAssignment as Assignment  # noqa: PLC0415  # needs them
        from bursary.assignments.models import LearnerContentAssignmentAction as Action  # noqa: PLC0415  # needs them

        tables = {"assignments": Assignment._meta.db_table, "actions": Action._meta.db_table}
        found: list[Any] = []
        asked: dict[str, Any] = {"budget": self.budget.pk, "size": SIZE, "start": start, "pks": []}
        with connection.cursor() as cursor:
            for statement in RAW:
                cursor.execute(statement.format(**tables), asked)
                found.append(cursor.fetchall())
                asked["pks"] = [row[0] for row in found[-1]]
        if not orjson.dumps(found, default=str):
            raise RuntimeError("There is no page.")

    def page(self, **query: object) -> Any:
        """Ask for a page, and return its body."""
        answer = self.client.get(self.url, query)
        if answer.status_code != 200:
            raise RuntimeError(answer.content[:300])
        return answer


def cases(chosen: argparse.Namespace) -> Iterator[Figure]:
    """Yield each case's figure."""
    stage, count = Stage(chosen.assignments), int(chosen.assignments)
    for name, number in (("first", 1), ("middle", count // SIZE // 2)):
        ways = {"floor": partial(stage.raw, (number - 1) * SIZE), "ours": partial(stage.page, page=number)}
        found = side_by_side(ways, rounds=ROUNDS)
        target = TO_FLOOR * found["floor"] + MORE_MS
        yield Figure(f"list: {name} page of {SIZE} of {count}", found["floor"], found["ours"], target)
    asked = {
        "one address": {"learner_email": "learner-77@many.example"},
        "one state": {"state": "allocated", "page_size": 25},
        "search": {"search": "learner-77", "page_size": 25},
    }
    for name, query in asked.items():
        took = side_by_side({"ours": partial(stage.page, **query)})["ours"]
        yield Figure(f"list: {name} of {count}", None, took, ADDRESS_MS if "address" in name else COUNTS_MS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--assignments", type=int, default=10_000)
    sys.exit(main(cases, parser))
