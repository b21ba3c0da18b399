"""How cost grows with what there is: `python -m bench.growth [--most 1000000] [--only budget …]`.

A PostgreSQL of its own is started in a temporary folder. Rows are made by SQL, never by what is measured.
Prints one JSON line for each case and size: processor time (of the process, and of the database's work for
it), time on the clock, and the most memory that the process had in use at one time. Ends with 1 where a case
grows faster than it may.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.test import Client

from bench import stage
from bench.curves import a_decade
from bench.refresh_memory import Catalog
from bench.stage import Case, Way
from bursary.lib.moments import FAR_FUTURE
from tests import memory

TURNS = {100_000: 1, 10_000: 3}
"""How often a case with so many rows of work, or more, is measured; others five times, after once before.
What is measured once takes minutes, and tracing its memory several times as long: that is left out."""
BUDGETS = 1_000
LEARNER = "learner-77@many.example"
"""One with an open assignment."""
CREDITS = "/api/v1/policy-redemption/credits_available/?enterprise_customer_uuid="
FLAT, LINEAR = 1.15, 11.5
"""What ten times the rows may cost, in times as much: noise may add something."""
ALLOWED = {FLAT: 1.3, LINEAR: 15.0}
"""From where on it is an error: the machine may be busy."""
EXPECTED = {
    **dict.fromkeys(("page by cursor", "page by cursor, deep", "credits", "timeline", "look-up"), FLAT),
    **dict.fromkeys(("allocate", "expire", "nudge", "refresh, new", "refresh, unchanged"), LINEAR),
    "credits of one learner": LINEAR,
    "counts by state": LINEAR,
}


@dataclass(frozen=True)
class Axis:
    """What grows: its name, its sizes, and the cases to measure at each."""

    title: str
    sizes: Sequence[int]
    cases: Callable[[int], Iterator[Case]]


class Listed:
    """An administrator's list, one of its assignments and its learner: what is read of a large budget."""

    def __init__(self, size: int) -> None:
        from bench.lists import Stage  # noqa: PLC0415  # needs the settings
        from bursary.access.models import Role  # noqa: PLC0415  # needs the settings
        from tests import world  # noqa: PLC0415  # needs the settings

        self.list = Stage(size)
        self.customer = self.list.budget.customer
        name = f"learner-of-{self.customer.slug}"
        learner = world.given_user(Role.LEARNER, customer=self.customer, username=name, email=LEARNER)
        self.learner = Client()
        self.learner.force_login(learner)

    def cases(self, size: int) -> Iterator[Case]:
        """Yield what is to cost the same in a budget of any size, and its counts."""
        one = self.list.rows.get(learner_email=LEARNER)
        page = partial(partial, self.list.page)
        reads: dict[str, Callable[[object], object]] = {
            "page by cursor": page(cursor=""),
            "page by cursor, deep": page(cursor=self.list.deep()),
            "look-up": page(learner_email=one.learner_email),
            "timeline": partial(self.get, self.list.client, f"{self.list.url}{one.uuid}/actions/"),
            "credits": partial(self.get, self.learner, f"{CREDITS}{self.customer.uuid}"),
            "counts by state": self.list.counts,
        }
        for name, work in reads.items():
            yield Case(name, Way(work), size=size, rounds=9)

    def get(self, client: Any, address: str, _given: object = None) -> None:
        """Ask for something."""
        answer = client.get(address)
        if answer.status_code != 200 or len(answer.content) < 200:
            raise RuntimeError(f"{address}: {answer.status_code} {answer.content[:300]}")


def in_one_budget(size: int) -> Iterator[Case]:
    """Yield the reads of a budget with so many assignments."""
    listed = Listed(size)
    stage.let_the_database_settle()
    yield from listed.cases(size)


class Beside:
    """A budget with 1,000 assignments beside 1,000 others', to which ever more are added."""

    def __init__(self) -> None:
        self.there = 0
        self.listed: Listed | None = None
        self.others: list[Any] = []

    def cases(self, size: int) -> Iterator[Case]:
        """Yield the reads of the one budget while the others have so many assignments in all."""
        from tests import many, world  # noqa: PLC0415  # needs the settings

        if self.listed is None:
            self.listed = Listed(1_000)
            self.others = given_budgets(BUDGETS)
        more = size - self.there
        filled = world.given_budget(customer=self.others[0].customer)
        many.fill(filled, many.COURSES + more, among=self.others, first=self.there + 1_001)
        self.there = size
        stage.let_the_database_settle()
        yield from self.listed.cases(size)


def given_budgets(count: int) -> list[Any]:
    """Return so many budgets, with keys that follow each other, each of an organisation of its own."""
    from bursary.budgets.models import Account, Budget, Customer  # noqa: PLC0415  # needs the settings
    from tests import world  # noqa: PLC0415  # needs the settings

    named = [Customer(name=f"Customer {number}", slug=f"customer-{number}") for number in range(count)]
    customers = Customer.objects.bulk_create(named)
    accounts = Account.objects.bulk_create(Account(customer=one, name="Learning") for one in customers)
    pairs = zip(customers, accounts, strict=True)
    return Budget.objects.bulk_create(
        Budget(
            customer=customer,
            account=account,
            name="Skills",
            catalog_uuid=world.CATALOG,
            assignment_configuration_uuid=uuid4(),
        )
        for customer, account in pairs
    )


def of_one_learner(size: int) -> Iterator[Case]:
    """Yield the dashboard of a learner with so many assignments."""
    from bench.credits import Stage  # noqa: PLC0415  # needs the settings

    dashboard = Stage([size])
    stage.let_the_database_settle()
    yield Case("credits of one learner", Way(partial(dashboard.ask, size)), size=size, rounds=9)


def of_work(name: str, way: Way, *, size: int) -> Case:
    """Return the case of so many rows of work."""
    for least, turns in TURNS.items():
        if size >= least:
            return Case(name, way, size=size, rounds=turns, warm_ups=0)
    return Case(name, way, size=size)


def of_learners(size: int) -> Iterator[Case]:
    """Yield an allocation to so many."""
    from bench.allocate import Stage, fresh  # noqa: PLC0415  # needs the settings

    yield of_work("allocate", Way(Stage().verb, partial(fresh, size)), size=size)


def alone_due(size: int, *, after: timedelta) -> Any:
    """Return a budget with so many due, when nothing else is: not what other turns and axes left behind."""
    from bench import sweeps  # noqa: PLC0415  # needs the settings
    from bursary.assignments.models import LearnerContentAssignment  # noqa: PLC0415  # needs the settings

    left = LearnerContentAssignment.objects.filter(expires_at__lt=FAR_FUTURE)
    left.update(expires_at=FAR_FUTURE, nudge_at=FAR_FUTURE)
    return sweeps.filled(size, after=after)


def of_due(size: int) -> Iterator[Case]:
    """Yield the sweeps with so many due."""
    from bench import sweeps  # noqa: PLC0415  # needs the settings

    for name, work, days in (("expire", sweeps.expire, 400), ("nudge", sweeps.nudge, 25)):
        before = partial(alone_due, size, after=timedelta(days=days))
        yield of_work(name, Way(work, before), size=size)


@dataclass(frozen=True)
class Listing:
    """A catalog of made-up courses, listed in this process: no network, and a batch of it at a time."""

    courses: int
    name: str = "bench"

    def pages(self, catalog_uuid: UUID, *, size: int, skip: object = None) -> Iterator[list[object]]:
        """Stream the courses, with keys of this catalog's own."""
        made = Catalog(self.courses)
        first = catalog_uuid.int % 1000 * 1_000_000
        for begin in range(0, self.courses, size):
            yield [made.course(first + one) for one in range(begin, min(begin + size, self.courses))]

    def fetch(
        self, catalog_uuid: UUID, *, keys: Sequence[str], timeout: timedelta | None = None
    ) -> Sequence[object]:
        """Return nothing: all has been listed."""
        return []


_catalogs = itertools.count(1)
_hours = itertools.count(1)


def of_courses(size: int) -> Iterator[Case]:
    """Yield the refreshes of a catalog with so many courses: all of them new, and none of them changed."""
    last: list[UUID] = []

    def refresh(catalog: UUID) -> None:
        from bursary.replica import refresh  # noqa: PLC0415  # needs the settings
        from bursary.replica.models import RefreshTrigger  # noqa: PLC0415  # needs the settings

        now = datetime.now(UTC) + timedelta(hours=next(_hours))
        report = refresh.refresh_catalog(catalog, source=Listing(size), now=now, trigger=RefreshTrigger.CRON)
        if report.listed < size:
            raise RuntimeError(str(report))
        last[:] = [catalog]

    yield of_work("refresh, new", Way(refresh, lambda: UUID(int=next(_catalogs))), size=size)
    yield of_work("refresh, unchanged", Way(refresh, lambda: last[0]), size=size)


_TO_A_MILLION = (1_000, 10_000, 100_000, 1_000_000)
AXES = {
    "learner": Axis("assignments of one learner", (1, 2, 5, 10, 20, 50, 100, 200), of_one_learner),
    "allocation": Axis("learners of an allocation", (10, 100, 1_000, 10_000), of_learners),
    "sweep": Axis("assignments due", (100, 1_000, 10_000, 100_000), of_due),
    "catalog": Axis("courses of a catalog", (100, 1_000, 10_000, 100_000), of_courses),
    "budget": Axis("assignments in one budget", _TO_A_MILLION, in_one_budget),
    "budgets": Axis("assignments in 1,000 other budgets", _TO_A_MILLION, Beside().cases),
}
"""What grows. In this order, as a million rows slow down what comes after them."""


def memory_mb(case: Case) -> float | None:
    """Return the most memory that one more turn of the case has in use; None where that took too long."""
    if case.rounds == 1:
        return None
    given = case.ours.before()
    return round(memory.peak_while(partial(case.ours.work, given)) / 1e6, 2)


def measured(axis: str, *, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of an axis, up to a size."""
    chosen = AXES[axis]
    for size in chosen.sizes:
        for case in chosen.cases(size) if size <= limit else ():
            figure = stage.measured(case, engine="postgres")
            yield {
                "kind": "growth",
                "axis": axis,
                "case": case.name,
                "size": size,
                "ms": figure.ours_ms,
                "wall_ms": figure.ours_wall_ms,
                "memory_mb": memory_mb(case),
                "rounds": case.rounds,
            }


def curves(rows: Iterable[Mapping[str, Any]], *, what: str = "ms") -> dict[str, list[tuple[float, float]]]:
    """Return the points of each case, by size."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row[what]:
            found.setdefault(row["case"], []).append((row["size"], row[what]))
    return {case: sorted(points) for case, points in found.items()}


def growth(case: str, points: Sequence[tuple[float, float]]) -> float:
    """Return by how much a case's cost is multiplied where there is ten times as much.

    Of what is linear, what a request costs besides hides the rest where there is little: the last two sizes
    count.
    """
    return round(a_decade(points[-2:] if EXPECTED[case] == LINEAR else points), 2)


def main() -> int:
    """Measure, print each figure, and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=1_000_000, help="leave out larger sizes")
    parser.add_argument("--only", nargs="*", choices=AXES, default=[])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    found = []
    with stage.database("postgres"):
        head = stage.machine("postgres", "growth")
        for axis in chosen.only or AXES:
            for row in measured(axis, limit=chosen.most):
                found.append(row)
                line = json.dumps(row | {"machine": head})
                print(line, flush=True)
                if chosen.out:
                    with chosen.out.open("a", encoding="utf-8") as out:
                        out.write(f"{line}\n")
    missed = 0
    for axis in chosen.only or AXES:
        for case, points in curves(row for row in found if row["axis"] == axis).items():
            if len(points) > 1:
                times = growth(case, points)
                missed += times > ALLOWED[EXPECTED[case]]
                print(f"{AXES[axis].title}: {case} x{times} a decade, at most x{EXPECTED[case]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
