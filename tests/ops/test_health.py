"""/healthz: is the work being done?"""

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import Error, InterfaceError, OperationalError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments import actions, failures
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.delivery import file_backend
from bursary.delivery.models import MailServer as MailServer_
from bursary.ops import health, scheduler, storage
from bursary.ops.scheduler import TaskDefinition
from bursary.replica.models import CatalogListing
from tests import world
from tests.smtp import MailServer

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
        "mail_trouble_seconds": 0,
        "dated_ahead": 0,
        "problems": [],
    }
    assert "no-store" in answer.headers["Cache-Control"]


def test_fresh_work_is_pending_and_no_reason_for_worry() -> None:
    world.given_assignment(now=world.NOW)

    found = health.examine(now=world.NOW + timedelta(seconds=10))

    assert (found.status, found.pending, found.oldest_due_seconds) == ("ok", 1, 10)


@pytest.mark.on_every_engine
def test_work_that_is_overdue_by_five_minutes_makes_it_unwell(client: Client) -> None:
    world.given_assignment(now=timezone.now() - timedelta(seconds=301))

    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert answer.json()["status"] == "unwell"
    assert answer.json()["oldest_due_seconds"] >= 301
    assert answer.json()["problems"] == ["work_not_done"]


LATE = world.NOW + timedelta(hours=1)


def test_much_work_that_is_being_done_is_no_reason_for_worry(mail: MailServer) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(20))
    world.deliver(now=LATE - timedelta(minutes=1), limit=5)
    assert health.examine(now=LATE).status == "ok"
    assert health.examine(now=LATE).oldest_due_seconds == 3595  # of the sixth learner

    after_it_died = health.examine(now=LATE + timedelta(minutes=5))
    assert (after_it_died.status, after_it_died.problems) == ("unwell", ["work_not_done"])


def test_one_slow_mail_is_work_that_is_being_done(settings: Settings) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(20))
    actions.claim(now=LATE, lease=settings.LEASE, limit=1)
    assert health.examine(now=LATE + timedelta(minutes=2)).status == "ok"
    assert health.examine(now=LATE + settings.LEASE + timedelta(seconds=1)).status == "unwell"


def test_what_a_request_did_on_its_own_shows_no_runner() -> None:
    world.given_assignment()
    done = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.LEARNER_LINKED)
    done.update(status=Status.DONE, created=LATE, completed_at=LATE, due_at=None, early=None)
    assert health.examine(now=LATE).problems == ["work_not_done"]


def test_a_mail_server_in_trouble_is_degraded_with_a_code_and_no_host(
    client: Client, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    world.given_assignment()
    world.deliver()

    found = health.examine(now=world.NOW + timedelta(minutes=3))
    assert (found.status, found.problems) == ("degraded", ["mail_server_unreachable"])
    assert found.mail_trouble_seconds == 180
    answer = client.get("/healthz")
    assert answer.json()["problems"][-1] == "mail_server_unreachable"
    assert "127.0.0.1" not in answer.content.decode()


def test_degraded_is_answered_with_200(client: Client) -> None:
    MailServer_.objects.create(name="default", trouble_since=timezone.now(), error_code="mail_server_busy")
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")


def test_a_folder_of_mails_that_cannot_be_written_makes_it_unwell(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "mail").write_text("a file in its place")
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = file_backend.BACKEND, str(tmp_path / "mail")
    found = health.examine(now=world.NOW)
    assert (found.status, found.problems) == ("unwell", ["folder_not_writable"])


def test_a_folder_that_the_first_mail_will_make_is_no_reason_for_worry(
    tmp_path: Path, settings: Settings
) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = file_backend.BACKEND, str(tmp_path / "a" / "mail")
    assert health.examine(now=world.NOW).status == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("error", "problem"),
    [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EROFS, "folder_not_writable")],
)
def test_a_full_or_read_only_disk_makes_it_unwell(
    monkeypatch: pytest.MonkeyPatch, error: int, problem: str
) -> None:
    def refuse(**_options: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    found = health.examine(now=world.NOW)
    assert (found.status, found.problems) == ("unwell", [problem])


@pytest.mark.sqlite_only
def test_a_disk_that_is_nearly_full_counts_as_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LEAST_FREE", 1 << 62)
    assert health.examine(now=world.NOW).problems == ["disk_full"]


@pytest.mark.on_every_engine
def test_work_dated_ahead_by_a_clock_that_jumped_is_found_and_said() -> None:
    world.given_assignment(now=world.NOW + timedelta(days=3))
    found = health.examine(now=world.NOW)
    assert (found.status, found.problems, found.dated_ahead) == ("degraded", ["work_dated_ahead"], 1)


def test_work_that_is_postponed_for_days_is_not_dated_ahead() -> None:
    budget = world.given_budget()
    world.given_assignment(budget=budget)
    Budget.objects.filter(pk=budget.pk).update(starts_at=world.NOW + timedelta(days=20))
    world.deliver()
    assert health.examine(now=world.NOW + timedelta(minutes=1)).problems == []


def test_a_task_that_a_clock_ahead_has_run_is_dated_ahead(settings: Settings) -> None:
    settings.CLOCK = "thread"
    tomorrow = world.NOW + timedelta(days=1)
    scheduler.run_due(
        clock=lambda: tomorrow, tasks=[TaskDefinition("expire", timedelta(hours=1), lambda _clock: {})]
    )
    assert health.examine(now=world.NOW).problems == ["work_dated_ahead"]


@pytest.mark.on_every_engine
def test_failures_of_the_last_day_are_counted_and_older_ones_are_not() -> None:
    world.given_assignment(address="old@nowhere.invalid", now=world.NOW - timedelta(days=2))
    world.deliver(now=world.NOW - timedelta(days=2))
    world.given_assignment(address="new@nowhere.invalid", now=world.NOW)
    world.deliver(now=world.NOW)

    found = health.examine(now=world.NOW + timedelta(minutes=1))

    assert (found.status, found.failed_last_day, found.pending) == ("ok", 1, 0)


@pytest.mark.on_every_engine
def test_a_failure_that_was_retried_or_skipped_is_not_counted() -> None:
    budget = world.given_budget()
    for address in ("gone@nowhere.invalid", "left@nowhere.invalid", "new@nowhere.invalid"):
        world.given_assignment(budget, address=address, now=world.NOW)
    world.deliver(now=world.NOW)
    uuids = dict(LearnerContentAssignment.objects.values_list("learner_email", "uuid"))

    failures.retry(budget, uuids=[uuids["gone@nowhere.invalid"]], now=world.NOW)
    failures.skip(budget, uuids=[uuids["left@nowhere.invalid"]], reason="They have left.", now=world.NOW)

    assert health.examine(now=world.NOW).failed_last_day == 1


@pytest.mark.on_every_engine
def test_the_figures_are_counted_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MAX_COUNTED", 3)
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(5))

    assert health.examine(now=world.NOW).pending == 3


def test_it_takes_eight_queries_however_much_there_is(django_assert_max_num_queries: MaxQueries) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(50))

    with django_assert_max_num_queries(8):
        health.examine(now=world.NOW)


@pytest.mark.parametrize("away", [OperationalError(2003, "can't connect to server"), InterfaceError(0, "")])
@pytest.mark.on_every_engine
def test_a_database_that_is_away_is_reported_and_no_error(
    client: Client, monkeypatch: pytest.MonkeyPatch, away: Error
) -> None:
    def measure(**_args: object) -> None:
        raise away

    monkeypatch.setattr(health, "measure", measure)

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
