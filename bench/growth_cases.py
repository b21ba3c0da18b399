"""The cases of `bench/growth.py`, imported once the database that they fill is there."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.test import Client

from bench import allocate, credits, lists, stage, sweeps
from bench.refresh_memory import Catalog
from bench.stage import Case, Way
from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Account, Budget, Customer
from bursary.lib.moments import FAR_FUTURE
from bursary.replica import refresh
from bursary.replica.models import RefreshTrigger
from tests import many, world

TURNS = {100_000: 1, 10_000: 3}
"""How often a case with so many rows of work, or more, is measured; others five times, after once before.
What is measured once takes minutes, and tracing its memory several times as long: that is left out."""
BUDGETS = 1_000
LEARNER = "learner-77@many.example"
"""One with an open assignment."""
CREDITS = "/api/v1/policy-redemption/credits_available/?enterprise_customer_uuid="


class Listed:
    """An administrator's list, one of its assignments and its learner: what is read of a large budget."""

    def __init__(self, size: int) -> None:
        self.list = lists.Stage(size)
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
    dashboard = credits.Stage([size])
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
    yield of_work("allocate", Way(allocate.Stage().verb, partial(allocate.fresh, size)), size=size)


def alone_due(size: int, *, after: timedelta) -> Any:
    """Return a budget with so many due, when nothing else is: not what other turns and axes left behind."""
    left = LearnerContentAssignment.objects.filter(expires_at__lt=FAR_FUTURE)
    left.update(expires_at=FAR_FUTURE, nudge_at=FAR_FUTURE)
    return sweeps.filled(size, after=after)


def of_due(size: int) -> Iterator[Case]:
    """Yield the sweeps with so many due."""
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

    def refreshed(catalog: UUID) -> None:
        now = datetime.now(UTC) + timedelta(hours=next(_hours))
        report = refresh.refresh_catalog(catalog, source=Listing(size), now=now, trigger=RefreshTrigger.CRON)
        if report.listed < size:
            raise RuntimeError(str(report))
        last[:] = [catalog]

    yield of_work("refresh, new", Way(refreshed, lambda: UUID(int=next(_catalogs))), size=size)
    yield of_work("refresh, unchanged", Way(refreshed, lambda: last[0]), size=size)


CASES: Mapping[str, Callable[[int], Iterator[Case]]] = {
    "learner": of_one_learner,
    "allocation": of_learners,
    "sweep": of_due,
    "catalog": of_courses,
    "budget": in_one_budget,
    "budgets": Beside().cases,
}
"""By axis: the cases to measure at a size."""
