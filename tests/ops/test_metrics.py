"""/metrics: figures for Prometheus, and none without the token."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import Error, InterfaceError, OperationalError
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from bursary.lib.breaker import FAILURES
from bursary.ops import health, metrics
from bursary.replica import refresh
from bursary.replica.models import CatalogListing, ContentMetadata
from tests import world
from tests.docs.pages import first_column, page
from tests.world import NOW

pytestmark = pytest.mark.django_db

TOKEN = "kept-between-the-two-of-us"
MaxQueries = Callable[[int], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def _token(settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN


@pytest.fixture
def remote(settings: Settings) -> Iterator[None]:
    """Configure enterprise-catalog, which is not called here."""
    refresh._opened.cache_clear()
    settings.CATALOG_URL = settings.OAUTH_URL = "http://127.0.0.1:9"
    settings.OAUTH_CLIENT_ID = settings.OAUTH_CLIENT_SECRET = "x"
    yield
    refresh._opened.cache_clear()


def figures() -> dict[str, float]:
    """Return each figure by its name, with the label's value behind it."""
    text = metrics.exposition(now=NOW).decode()
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_with_nothing_to_do_every_figure_is_there() -> None:
    assert figures() == {
        "bursary_database_up": 1,
        "bursary_content_oldest_wanted_seconds": 0,
        "bursary_content_stale_ratio": 0,
        "bursary_content_quarantined": 0,
        "bursary_content_differs_within_variant_total": 0,
        "bursary_actions_due": 0,
        "bursary_actions_pending": 0,
        "bursary_actions_oldest_due_seconds": 0,
        "bursary_actions_failed_last_day": 0,
        "bursary_ticks_late": 0,
        "bursary_catalog_alarms": 0,
        "bursary_mail_server_trouble_seconds": 0,
        "bursary_work_dated_ahead": 0,
    }


def test_every_metric_is_documented_and_no_other(settings: Settings) -> None:
    settings.EXECUTOR = "celery"  # which has two of its own
    breaker = {"bursary_upstream_breaker_state"}
    assert set(first_column(page("docs/operations.md"), "Collect metrics")) == {*figures(), *breaker}


@pytest.mark.on_every_engine
def test_content_has_its_longest_wait_its_stale_share_and_its_quarantine() -> None:
    world.given_content(with_run=False, due_at=NOW - timedelta(seconds=90))
    world.given_content(with_run=False, due_at=NOW - timedelta(seconds=30), fresh_until=NOW)
    world.given_content(with_run=False, quarantined_digest="0" * 64)
    world.given_content(with_run=False, due_at=NOW + timedelta(hours=1))
    world.given_content(with_run=False, fresh_until=NOW, gone_at=NOW)

    found = figures()

    assert found["bursary_content_oldest_wanted_seconds"] == 90
    assert found["bursary_content_stale_ratio"] == 0.25
    assert found["bursary_content_quarantined"] == 1


@pytest.mark.on_every_engine
def test_the_stale_share_of_much_content_is_that_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SAMPLE", 10)
    for _number in range(30):
        world.given_content(with_run=False, fresh_until=NOW)
    assert figures()["bursary_content_stale_ratio"] == 1


@pytest.mark.on_every_engine
def test_actions_have_the_figures_of_health() -> None:
    world.given_assignment(now=NOW - timedelta(seconds=10))
    world.given_assignment(now=NOW + timedelta(seconds=10))
    CatalogListing.objects.create(catalog_uuid=world.CATALOG, alarm="Too much is missing.")

    found = figures()

    assert (found["bursary_actions_due"], found["bursary_actions_pending"]) == (1, 2)
    assert found["bursary_actions_oldest_due_seconds"] == 10
    assert found["bursary_catalog_alarms"] == 1


@pytest.mark.usefixtures("remote")
def test_the_breaker_has_its_state_in_this_process() -> None:
    name = "bursary_upstream_breaker_state"
    assert [figures()[f"{name} {state}"] for state in metrics.BREAKER_STATES] == [1, 0, 0]

    breaker = refresh.configured_source().remote.breaker  # type: ignore[attr-defined]  # it is over HTTP
    for _failure in range(FAILURES):
        breaker.failed(breaker.enter(), because="tests")
    assert [figures()[f"{name} {state}"] for state in metrics.BREAKER_STATES] == [0, 1, 0]


@pytest.mark.parametrize("away", [OperationalError(2003, "can't connect to server"), InterfaceError(0, "")])
@pytest.mark.on_every_engine
def test_a_database_that_is_away_is_reported_and_no_error(
    monkeypatch: pytest.MonkeyPatch, away: Error
) -> None:
    def measure(**_args: object) -> None:
        raise away

    monkeypatch.setattr(health, "measure", measure)

    assert figures() == {"bursary_database_up": 0}


def test_it_takes_fourteen_queries_however_much_there_is(django_assert_max_num_queries: MaxQueries) -> None:
    world.given_assignment(address="gone@nowhere.invalid")
    world.deliver()
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(50))

    with django_assert_max_num_queries(14):
        figures()


@pytest.mark.on_every_engine
def test_the_counts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_COUNTED", 3)
    content = world.given_content()
    world.allocate(world.given_budget(), content, *world.addresses(5))
    ContentMetadata.objects.filter(pk=content.pk).update(quarantined_digest="0" * 64)

    assert (figures()["bursary_actions_due"], figures()["bursary_content_quarantined"]) == (3, 1)


def test_a_request_with_the_token_is_answered_in_prometheus_format(client: Client) -> None:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"\nbursary_database_up 1.0\n" in answer.content
    assert "no-store" in answer.headers["Cache-Control"]
    assert client.post("/metrics").status_code == 405


@pytest.mark.parametrize("sent", ["", TOKEN, "Bearer", f"Bearer {TOKEN}x", "Bearer \u00e9", f"Basic {TOKEN}"])
def test_without_a_valid_key_the_answer_says_how_to_send_one_and_nothing_else(
    client: Client, sent: str
) -> None:
    answer = client.get("/metrics", headers={"Authorization": sent})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="Bursary metrics"'
    assert b"bursary_" not in answer.content


def test_without_a_token_in_the_settings_there_are_no_metrics(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = ""

    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("token", ["short", "with a blank in the middle", "nineteen-and-no-mor", "é" * 30])
def test_a_token_that_can_be_guessed_is_refused(settings: Settings, token: str) -> None:
    settings.METRICS_TOKEN = token

    assert [found.id for found in run_checks() if (found.id or "").startswith("bursary.")] == ["bursary.E015"]
