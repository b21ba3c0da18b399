"""What each change reads of the database: the rows that it concerns, however long the history of the budget.

PostgreSQL prefers to read a small table as a whole. It is kept from that here, so that what reads every row
all the same has no index for what it asks. Erasure is not asked: it compares
the recipient of every action, so that it misses none.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.db import connection

from bursary.access.models import Role
from bursary.assignments import (
    account_linking,
    address_corrections,
    cancellation,
    declining,
    expiry,
    extension,
    reminders,
)
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import many, world
from tests.rows_read import plan_for_these_rows, rows_read
from tests.world import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.only_on("postgresql", because="it reads its statistics")]

DAY = timedelta(days=1)
HISTORY = 3_000
"""Assignments beside. One statement that reads all of them shows."""


def changes(
    budget: Budget, content: ContentMetadata, *, first: int
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each change by name, of learners from this number on."""
    addresses = world.addresses(8, start=first)
    yield "allocate", lambda: world.allocate(budget, content, *addresses)
    yield "send", world.deliver
    yield "allocate again", lambda: world.allocate(budget, content, *addresses)
    rows = list(budget.assignments.order_by("-pk")[:8])
    yield "remind", lambda: reminders.remind(budget, uuids=[rows[0].uuid], now=NOW)
    yield "extend", lambda: extension.extend(budget, uuids=[rows[1].uuid], until=NOW + 100 * DAY, now=NOW)
    yield "cancel", lambda: cancellation.cancel(budget, uuids=[rows[2].uuid], now=NOW)
    yield "decline", lambda: declining.decline(rows[3], reason="", now=NOW)
    yield (
        "correct",
        lambda: address_corrections.correct_pair(
            rows[4].learner_email, f"new-{first}@learners.example", now=NOW
        ),
    )
    yield (
        "register",
        lambda: world.given_user(Role.LEARNER, customer=budget.customer, email=rows[5].learner_email),
    )
    yield "link", lambda: account_linking.link_registered_users(now=NOW + DAY)
    yield "expire", lambda: expiry.expire_due(now=NOW + 2 * DAY)
    yield "remind those due", lambda: reminders.remind_due(now=NOW + DAY)
    yield "send again", world.deliver


def measured(budget: Budget, content: ContentMetadata, *, first: int) -> dict[str, int]:
    """Return how many rows each change reads."""
    found = {}
    for name, change in changes(budget, content, first=first):
        before = rows_read()
        change()
        found[name] = rows_read() - before
    return found


def test_a_change_reads_the_rows_that_it_concerns(subtests: pytest.Subtests) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    budget, content = world.given_budget(), world.given_content()
    # A row that this transaction wrote is read in each of its versions, which the first time shows less.
    measured(budget, content, first=0)
    plan_for_these_rows()
    at_first = measured(budget, content, first=100)
    many.fill(budget, HISTORY, first=10_000)
    plan_for_these_rows()

    for name, read in measured(budget, content, first=200).items():
        with subtests.test(name):
            assert read < at_first[name] + HISTORY // 2
