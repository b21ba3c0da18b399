"""The steps of `bench/pages.py` in a database: each runs in a process of its own."""

import json
from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bench.pages import TO_THE_END
from bench.stage import processor_ms
from bursary.access.models import Role, User
from bursary.assignments import cursors
from bursary.assignments.models import LearnerContentAssignment
from tests import many, world

ROUNDS = 7
WARM_UP = 1


def addresses(first: Mapping[str, Any]) -> dict[str, str]:
    """Return the pages by name. `first` names the budget, an assignment, and a cursor deep in the list."""
    listed = f"/assignments/?budget={first['budget']}"
    statuses = ("failed", "waiting", "notifying", "accepted", "declined", "expired", "cancelled", "reversed")
    sorts = ("learner_email", "content_title", "price_cents", "learner_state", "expires_at", "content_start")
    found = {
        "home": "/",
        "list": listed,
        **{f"status {name}": f"{listed}&status={name}" for name in statuses},
        **{f"sort {name}": f"{listed}&sort={name}" for name in sorts},
        **{f"sort -{name}": f"{listed}&sort=-{name}" for name in sorts},
        "search an address": f"{listed}&search=learner-77%40many",
        "search a course": f"{listed}&search=course+7",
        "search nothing": f"{listed}&search=no+such+thing",
        "deadline within 7 days": f"{listed}&within=7",
        "a cause": f"{listed}&cause=address_rejected",
        "deep cursor": f"{listed}&cursor={first['cursor']}",
        "deep cursor, waiting": f"{listed}&status=waiting&cursor={first['cursor']}",
        "budgets": "/budgets/",
        "budget": f"/budgets/{first['budget']}/",
        "spent": f"/budgets/{first['budget']}/spent/",
        "totals": f"/assignments/totals/?budget={first['budget']}",
        "totals, expired": f"/assignments/totals/?budget={first['budget']}&status=expired",
        "sums": f"/assignments/totals/sums/?budget={first['budget']}",
        "sums, expired": f"/assignments/totals/sums/?budget={first['budget']}&status=expired",
        "sums, accepted": f"/assignments/totals/sums/?budget={first['budget']}&status=accepted",
        "sums, ended": f"/assignments/totals/sums/?budget={first['budget']}&ended_from=2025-01-01",
        "assignment": f"/assignments/{first['assignment']}/",
        "export": f"/assignments/export/?budget={first['budget']}",
    }
    return found | {name + TO_THE_END: found[name] for name in ("spent", "sums", "sums, accepted")}


def fill(count: int) -> None:
    """Make a budget with so many assignments, and print the pages' addresses."""
    budget = world.given_budget()
    world.given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada")
    many.fill(budget, count)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # as the database does in time
    rows = LearnerContentAssignment.objects.filter(budget=budget)
    deep = rows.order_by("-recent_action_at")[count // 2 : count // 2 + 1].values_list(
        "recent_action_at", "pk"
    )
    found = cursors.cursor_page(
        rows.filter(recent_action_at__lte=deep[0][0]), column="recent_action_at", descending=True, size=1
    )
    first = {"budget": str(budget.uuid), "assignment": str(rows[count // 2].uuid), "cursor": found.later}
    print(json.dumps(addresses(first)))


def measure(pages: Mapping[str, str]) -> None:
    """Ask for each page, and print its least processor time in milliseconds."""
    client, best = Client(), dict.fromkeys(pages, float("inf"))
    client.force_login(User.objects.get(username="ada"))
    for number in range(WARM_UP + ROUNDS):
        for name, address in pages.items():
            before = processor_ms()
            answer: Any = client.get(address)
            if answer.streaming:
                pieces = iter(answer.streaming_content)
                b"".join(pieces) if name.endswith(TO_THE_END) else next(pieces)
            took = processor_ms() - before
            if answer.status_code != 200:
                raise RuntimeError(f"{address} answers {answer.status_code}")
            if number >= WARM_UP:
                best[name] = min(best[name], took)
    print(json.dumps(best))


def explain(address: str) -> None:
    """Print the statements of a page that take more than five milliseconds, with their plans."""
    client = Client()
    client.force_login(User.objects.get(username="ada"))
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    for query in queries.captured_queries:
        if float(query["time"]) >= 0.005:
            print(query["time"], query["sql"])
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN ANALYZE {query['sql']}")
                print("\n".join(line for (line,) in cursor.fetchall()), "\n")
