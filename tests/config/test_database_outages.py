"""An outage of SQLite's file or its disk: the API and the pages answer 503, and the log has one line."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import world
from tests.api.door import Door, door_of

pytestmark = pytest.mark.django_db(transaction=True)

USUAL = dict(settings.DATABASES["default"]["OPTIONS"])
LEARNERS = list(world.addresses(50))


@pytest.fixture
def file(empty_database: Path, tmp_path: Path) -> Iterator[Path]:
    """Put the service on a file of its own, in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict["NAME"] = shutil.copy(empty_database, folder)
    yield Path(connection.settings_dict["NAME"])
    connection.close()
    connection.settings_dict.update(before)


@pytest.fixture
def budget(file: Path) -> Budget:
    return world.given_budget(seats=100)


@pytest.fixture
def content(budget: Budget) -> ContentMetadata:
    return world.given_content()


@pytest.fixture
def door(budget: Budget, content: ContentMetadata) -> Door:
    door = door_of(Role.ADMINISTRATOR, customer=budget.customer)
    door.client.raise_request_exception = False
    return door


@pytest.fixture
def browser(budget: Budget) -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    return browser


def reconnect(**changes: Any) -> None:
    """Let the next request open the file anew, and otherwise."""
    connection.close()
    connection.settings_dict.update(changes)


def options(*, timeout: float = 0.05, pragma: str = "") -> dict[str, Any]:
    return {**USUAL, "timeout": timeout, "init_command": f"{USUAL['init_command']} {pragma}"}


def unavailable(answer: Any, reason: str = "temporarily_unavailable") -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/json")
    assert answer.json()["reason"] == reason
    assert {"detail", "next_step"} <= answer.json().keys()
    assert int(answer.headers["Retry-After"]) > 0
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_writer_that_holds_the_lock_for_too_long_is_waited_for_by_the_client(
    door: Door, budget: Budget, content: ContentMetadata, file: Path
) -> None:
    reconnect(OPTIONS=options())
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    unavailable(door.allocate(budget, content, *LEARNERS))
    assert door.policies().status_code == 200  # readers are not blocked
    other.close()

    assert door.allocate(budget, content, *LEARNERS).status_code == 202


def test_what_a_full_disk_does_not_take_is_undone_and_taken_later(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    reconnect(OPTIONS=options(pragma="PRAGMA max_page_count = 1;"))  # that is: not one page more
    unavailable(door.allocate(budget, content, *LEARNERS))
    assert LearnerContentAssignment.objects.count() == 0
    reconnect(OPTIONS=options())

    assert door.allocate(budget, content, *LEARNERS).status_code == 202
    assert LearnerContentAssignment.objects.count() == len(LEARNERS)


def test_a_file_that_became_read_only_is_still_read(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    reconnect(OPTIONS=options(pragma="PRAGMA query_only = ON;"))
    unavailable(door.allocate(budget, content, *LEARNERS))
    assert door.policies().status_code == 200


def test_without_its_folder_neither_keys_nor_sessions_are_looked_up(
    door: Door, browser: Client, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reconnect()
    file.parent.rename(file.parent.with_name("gone"))
    unavailable(door.policies())
    unavailable(browser.get("/api/v1/subsidy-access-policies/"))
    page = browser.get(reverse("home"))

    assert page.status_code == 503
    assert "Please try again in a moment" in page.content.decode()
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert int(page.headers["Retry-After"]) > 0
    assert "no-store" in page.headers["Cache-Control"]
    assert [line.levelname for line in caplog.records] == ["ERROR"] * 3
    for line, path in zip(caplog.records, ["/api/v1/subsidy-access-policies/"] * 2 + ["/"], strict=True):
        assert line.getMessage() == (
            f"temporarily_unavailable: GET {path}: OperationalError: unable to open database file"
        )
        assert line.exc_info is None
    health = browser.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "unwell")
    assert "database_unavailable" in health.json()["problems"]


def test_a_page_that_there_is_not_needs_the_session_too(browser: Client, file: Path) -> None:
    reconnect()
    file.parent.rename(file.parent.with_name("gone"))
    assert browser.get("/nothing/").status_code == 503


def test_a_missing_table_stays_an_error_of_the_installation(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE access_apikey")
    answer = door.policies()
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")
    (line,) = caplog.records
    assert line.exc_info
