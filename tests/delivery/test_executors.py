"""Executors are only a wake-up: threads are woken by requests, and find work though its hint was lost."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.choices import Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import executors, runner
from bursary.lib.threads import PollingThread
from tests.elapsed import until
from tests.world import ALICE, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def poll_seconds() -> float:
    return executors.POLL_SECONDS


@pytest.fixture
def thread(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, poll_seconds: float
) -> Iterator[PollingThread]:
    """One runner thread in this process."""
    settings.EXECUTOR = "thread"
    monkeypatch.setattr(executors, "POLL_SECONDS", poll_seconds)
    (started,) = executors.start_threads(1)
    yield started
    started.stop()
    started.join(timeout=60)
    assert not started.is_alive()


def wait_until_done(count: int) -> None:
    done = LearnerContentAssignmentAction.objects.filter(status=Status.DONE)
    until(lambda: done.count() == count)


def test_requested_work_is_done_by_the_thread(thread: PollingThread) -> None:
    allocate(given_budget(), given_content(), "alice@learners.example", now=timezone.now())
    wait_until_done(3)


@pytest.mark.parametrize("poll_seconds", [0.1])
def test_work_is_found_though_its_hint_was_lost(
    thread: PollingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors._work_is_due, "set", lambda: None)
    allocate(given_budget(), given_content(), "alice@learners.example", now=timezone.now())
    wait_until_done(3)
    monkeypatch.undo()


@pytest.mark.parametrize("poll_seconds", [0.1])
def test_a_failing_round_does_not_end_the_thread(
    thread: PollingThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drain, calls = runner.drain, []

    def break_once(**arguments: Any) -> int:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(f"the database is away: {ALICE}\nDETAIL: {ALICE}")
        return drain(**arguments)

    monkeypatch.setattr(runner, "drain", break_once)
    allocate(given_budget(), given_content(), "alice@learners.example", now=timezone.now())
    wait_until_done(3)
    assert "A round of deliveries failed: OSError: the database is away" in caplog.text
    assert "in break_once" in caplog.text
    assert ALICE not in caplog.text


def test_without_an_executor_no_thread_is_started(settings: Settings) -> None:
    settings.EXECUTOR = "none"
    assert executors.start_threads(2) == []
