"""/healthz: is the work being done?"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from bursary.ops import health
from bursary.replica.models import CatalogListing
from tests import world

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]


def test_with_nothing_to_do_all_is_well(client: Client) -> None:
    answer = client.get("/healthz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "database": True,
        "oldest_due_seconds": 0,
        "pending": 0,
        "failed_last_day": 0,
        "late_ticks": [],
        "catalog_alarms": 0,
    }
    assert "no-store" in answer.headers["Cache-Control"]


def test_fresh_work_is_pending_and_no_reason_for_worry() -> None:
    world.given_assignment(now=world.NOW)

    found = health.examine(now=world.NOW + timedelta(seconds=10))

    assert (found.status, found.pending, found.oldest_due_seconds) == ("ok", 2, 10)


def test_work_that_is_overdue_by_five_minutes_makes_it_unwell(client: Client) -> None:
    world.given_assignment(now=timezone.now() - timedelta(seconds=301))

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert answer.json()["status"] == "unwell"
    assert answer.json()["oldest_due_seconds"] >= 301


def test_failures_of_the_last_day_are_counted_and_older_ones_are_not() -> None:
    world.given_assignment(address="old@nowhere.invalid", now=world.NOW - timedelta(days=2))
    world.deliver(now=world.NOW - timedelta(days=2))
    world.given_assignment(address="new@nowhere.invalid", now=world.NOW)
    world.deliver(now=world.NOW)

    found = health.examine(now=world.NOW + timedelta(minutes=1))

    assert (found.status, found.failed_last_day, found.pending) == ("ok", 1, 0)


def test_the_figures_are_counted_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MOST_COUNTED", 3)
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(5))

    assert health.examine(now=world.NOW).pending == 3


def test_it_takes_five_queries_however_much_there_is(django_assert_max_num_queries: MaxQueries) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(50))

    with django_assert_max_num_queries(5):
        health.examine(now=world.NOW)


def test_a_database_that_is_away_is_reported_and_no_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_args: object) -> None:
        raise OperationalError("could not connect to server")

    monkeypatch.setattr(health, "look", away)

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert answer.json()["database"] is False
    assert "connect" not in answer.content.decode()


def test_catalogs_of_which_too_much_is_missing_are_counted_and_no_reason_to_stop() -> None:
    CatalogListing.objects.create(catalog_uuid=world.CATALOG, alarm="Too much is missing.")

    found = health.examine(now=world.NOW)

    assert (found.status, found.catalog_alarms) == ("ok", 1)


def test_it_can_only_be_read(client: Client) -> None:
    assert client.post("/healthz").status_code == 405
