"""Measures requests by this code and by an older commit's, in turn: `python -m bench.against`.

Targets in milliseconds were set on one machine, as a share of what the code of that time took there. This
asks the same of both on the machine at hand, each in a process and on a PostgreSQL server of its own, and
prints a table: milliseconds of processor time, the process' and the database's, the share, and the share that
is the target. `--out` is a file to which a JSON line a request is added. What is installed now runs both.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import stage

ROOT = Path(__file__).parents[1]
THEN = "6c00f413"
"""The last commit before the work on these goals began."""
SHARES = {
    "credits, 1": 6 / 10,
    "credits, 50": 10 / 28,
    "credits, 200": 24 / 78,
    "allocate, a request": 250 / 817,
}
"""The goals, in milliseconds, and what the code of that time took."""
TURNS, ROUNDS, WARM_UPS = 3, 11, 3
LEARNERS = 1_000


def ask() -> None:
    """Measure the requests of the tree that is first on the path, and print their medians as JSON."""
    with stage.migrated("postgres"):
        from django.db import connection  # noqa: PLC0415  # needs the settings

        from bursary.ops import serving  # noqa: PLC0415  # needs the settings

        getattr(serving, "load", bool)()  # as in the processes that serve; the older code has none
        medians: dict[str, float] = {}
        for name, work in requests():
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")  # as the database does in time
            took = []
            for number in range(-WARM_UPS, ROUNDS):
                before = stage.processor_ms()
                work()
                if number >= 0:
                    took.append(stage.processor_ms() - before)
            medians[name] = statistics.median(took)
    print(json.dumps(medians))


def requests() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield what is asked: a learner's dashboard, and an allocation to new learners."""
    from bursary.access.models import Role  # noqa: PLC0415  # needs the settings
    from tests import world  # noqa: PLC0415  # needs the settings

    now, budget = datetime.now(UTC), world.given_budget()
    courses = [world.given_content(title=f"Course {number}") for number in range(200)]
    for count in (1, 50, 200):
        address = f"learner-{count}@learners.example"
        user = world.given_user(Role.LEARNER, customer=budget.customer, username=address, email=address)
        for course in courses[:count]:
            world.allocate(budget, course, address, now=now)
        yield f"credits, {count}", partial(credits_of, count, client=signed_in(user), budget=budget)
    desk = signed_in(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    work = partial(allocate, client=desk, budget=budget, course=courses[0], numbers=itertools.count())
    yield "allocate, a request", work


def signed_in(user: Any) -> Any:
    """Return a client of the user."""
    from django.test import Client  # noqa: PLC0415  # needs the settings

    client = Client()
    client.force_login(user)
    return client


def credits_of(count: int, *, client: Any, budget: Any) -> None:
    """Ask for a learner's assignments, of which there are so many."""
    url = "/api/v1/policy-redemption/credits_available/"
    [policy] = client.get(url, {"enterprise_customer_uuid": str(budget.customer.uuid)}).json()
    if len(policy["learner_content_assignments"]) != count:
        raise RuntimeError(f"There are not {count} assignments.")


def allocate(*, client: Any, budget: Any, course: Any, numbers: Iterator[int]) -> None:
    """Allocate a course to `LEARNERS` new learners."""
    batch = next(numbers)
    body = {
        "content_key": course.content_key,
        "content_price_cents": course.price_cents,
        "learner_emails": [f"learner-{number}.of-{batch}@many.example" for number in range(LEARNERS)],
    }
    url = f"/api/v1/policy-allocation/{budget.uuid}/allocate/"
    answer = client.post(url, json.dumps(body), content_type="application/json")
    if answer.status_code != 202:
        raise RuntimeError(answer.content[:300])


def medians_of(tree: Path) -> dict[str, float]:
    """Return the milliseconds of each request by the code of a tree."""
    # `bench` is found in both, and only what is measured in the tree alone.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(ROOT)])}
    command = [sys.executable, "-m", "bench.against", "--ask"]
    done = subprocess.run(command, cwd=tree, env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure both in turn, print the table, and return 1 where a share is above 1.5 times its target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--then", default=THEN, metavar="COMMIT", help="the older commit")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ask:
        ask()
        return 0
    with tempfile.TemporaryDirectory(prefix="bursary-bench-") as folder:
        older = Path(folder, "then")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(older), chosen.then], check=True)
        try:
            turns = [(medians_of(older), medians_of(ROOT)) for _turn in range(TURNS)]
        finally:
            subprocess.run([*git, "remove", "--force", str(older)], check=True)
    missed, measured = False, {"commit": chosen.then, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    print("| request | then | now | share | target |\n| --- | ---: | ---: | ---: | ---: |")
    for name, target in SHARES.items():
        then, now = (statistics.median(turn[which][name] for turn in turns) for which in (0, 1))
        missed |= now > 1.5 * target * then
        print(f"| {name} | {then:,.1f} | {now:,.1f} | {now / then:.2f} | {target:.2f} |")
        row = {"kind": "against", "case": name, "then_ms": then, "now_ms": now, "target": target}
        if chosen.out:
            with chosen.out.open("a", encoding="utf-8") as out:
                out.write(f"{json.dumps(row | measured)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
