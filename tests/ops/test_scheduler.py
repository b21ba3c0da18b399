"""Scheduled tasks: each once a period among many processes, whatever fails."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import DatabaseError, IntegrityError
from pytest_django import Settings

from bursary.lib.clock import Clock
from bursary.ops import health, scheduler
from bursary.ops.models import ScheduledTask
from bursary.ops.scheduler import TASKS, TaskDefinition
from tests.inserted import inserted_by_another
from tests.together import together
from tests.world import ALICE, NOW

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


class Recorder:
    """A task that notes when it ran, and fails the first `breaks` times."""

    def __init__(self, *, breaks: int = 0) -> None:
        self.ran: list[datetime] = []
        self.breaks = breaks

    def __call__(self, scheduler: Clock) -> Mapping[str, object]:
        self.ran.append(scheduler())
        if self.breaks:
            self.breaks -= 1
            raise RuntimeError("The task is broken.")
        return {"ran": len(self.ran)}

    def task(self, name: str = "recorder", *, every: timedelta = 10 * MINUTE) -> TaskDefinition:
        return TaskDefinition(name, every, self)


def run(*tasks: TaskDefinition, at: datetime) -> list[str]:
    return scheduler.run_due(clock=lambda: at, tasks=tasks)


def test_a_task_runs_at_once_and_then_once_a_period() -> None:
    recorder = Recorder()
    for minute in range(25):
        run(recorder.task(), at=NOW + minute * MINUTE)
    assert recorder.ran == [NOW, NOW + 10 * MINUTE, NOW + 20 * MINUTE]
    row = ScheduledTask.objects.get(name="recorder")
    assert (row.summary, row.finished_at, row.last_error) == ({"ran": 3}, NOW + 20 * MINUTE, "")


@pytest.mark.on_every_engine
def test_a_task_that_another_process_prepares_at_the_same_moment_has_one_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder, met = Recorder(), inserted_by_another(monkeypatch, scheduler)

    assert run(recorder.task(), recorder.task("other"), at=NOW) == ["recorder", "other"]
    assert (len(met), ScheduledTask.objects.count()) == (2, 2)


def test_a_task_missed_for_a_week_runs_once() -> None:
    recorder = Recorder()
    run(recorder.task(), at=NOW)
    run(recorder.task(), at=NOW + timedelta(days=7))
    run(recorder.task(), at=NOW + timedelta(days=7, minutes=1))
    assert len(recorder.ran) == 2


def test_a_task_that_fails_is_retried_soon_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    broken, healthy = Recorder(breaks=2), Recorder()
    for minute in range(5):
        run(broken.task("broken"), healthy.task("healthy"), at=NOW + minute * MINUTE)
    assert broken.ran == [NOW, NOW + MINUTE, NOW + 3 * MINUTE]
    assert healthy.ran == [NOW]
    assert ScheduledTask.objects.get(name="broken").failures == 0
    assert "Task broken failed" in caplog.text


@pytest.mark.on_every_engine
def test_personal_data_in_a_database_error_is_neither_stored_nor_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def collide(_clock: Clock) -> Mapping[str, object]:
        cause = IntegrityError(f"duplicate key\nDETAIL:  Key (learner_email)=({ALICE}) already exists.")
        raise DatabaseError(str(cause)) from cause

    run(TaskDefinition("colliding", 10 * MINUTE, collide), at=NOW)
    assert ScheduledTask.objects.get(name="colliding").last_error == "DatabaseError: duplicate key"
    assert "Task colliding failed: DatabaseError: duplicate key" in caplog.text
    assert "in collide" in caplog.text
    assert ALICE not in caplog.text


@pytest.mark.on_every_engine
def test_a_summary_with_characters_that_databases_refuse_is_stored_without_them() -> None:
    summary = {"catalogs": ["a\0b", {"title": "half a pair: \ud800"}], "\0": 1}

    run(TaskDefinition("upstream's", 10 * MINUTE, lambda _clock: summary), at=NOW)

    row = ScheduledTask.objects.get(name="upstream's")
    kept = {"catalogs": ["a\ufffdb", {"title": "half a pair: \ufffd"}], "\ufffd": 1}
    assert (row.summary, row.failures, row.finished_at) == (kept, 0, NOW)


@pytest.mark.on_every_engine
def test_a_failing_round_is_logged_without_personal_data(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CLOCK = "thread"
    ran = threading.Event()

    def collide(**_arguments: object) -> list[str]:
        ran.set()
        raise IntegrityError(f"duplicate key\nDETAIL:  Key (learner_email)=({ALICE}) already exists.")

    monkeypatch.setattr(scheduler, "run_due", collide)
    [thread] = scheduler.start_threads(1)
    assert ran.wait(timeout=60)
    thread.stop()
    thread.join(timeout=60)

    assert "Running due tasks failed: IntegrityError: duplicate key" in caplog.text
    assert ALICE not in caplog.text


def test_a_task_of_a_dead_process_runs_again_when_its_lease_ends() -> None:
    recorder = Recorder()
    run(recorder.task(), at=NOW)
    ScheduledTask.objects.update(due_at=NOW + 10 * MINUTE, fence=7, finished_at=None)
    assert run(recorder.task(), at=NOW + 9 * MINUTE) == []
    assert run(recorder.task(), at=NOW + 10 * MINUTE) == ["recorder"]


def test_a_system_clock_that_is_put_back_does_not_stop_the_tasks() -> None:
    recorder = Recorder()
    run(recorder.task(), at=NOW + timedelta(days=400))
    assert run(recorder.task(), at=NOW) == ["recorder"]


def test_a_run_that_outlived_its_lease_writes_nothing() -> None:
    recorder = Recorder()

    def slow(_clock: Clock) -> Mapping[str, object]:
        run(recorder.task("slow"), at=NOW + timedelta(hours=1))  # another process claims it meanwhile
        return {"late": True}

    run(TaskDefinition("slow", 10 * MINUTE, slow), at=NOW)
    row = ScheduledTask.objects.get(name="slow")
    assert (row.summary, row.due_at) == ({"ran": 1}, NOW + timedelta(hours=1, minutes=10))


@pytest.mark.on_every_engine
def test_a_long_run_keeps_its_lease_as_long_as_it_lives() -> None:
    other, at = Recorder(), [NOW]

    def long(scheduler: Clock) -> Mapping[str, object]:
        for minute in range(60):
            at[0] = NOW + minute * MINUTE
            scheduler()
            assert run(other.task("long"), at=at[0] + 5 * MINUTE) == []
        return {"minutes": 60}

    assert scheduler.run_due(clock=lambda: at[0], tasks=[TaskDefinition("long", MINUTE, long)]) == ["long"]
    assert ScheduledTask.objects.get(name="long").summary == {"minutes": 60}


def test_a_run_that_lost_its_lease_does_not_renew_it() -> None:
    recorder, at = Recorder(), [NOW]

    def slow(scheduler: Clock) -> Mapping[str, object]:
        run(recorder.task("slow"), at=NOW + 10 * MINUTE)  # another process claims it meanwhile
        at[0] = NOW + 15 * MINUTE
        scheduler()
        return {"late": True}

    scheduler.run_due(clock=lambda: at[0], tasks=[TaskDefinition("slow", 10 * MINUTE, slow)])
    row = ScheduledTask.objects.get(name="slow")
    assert (row.summary, row.due_at) == ({"ran": 1}, NOW + 20 * MINUTE)


class Killed(BaseException):
    """The process ends here: nothing catches this, and nothing is tidied up."""


@pytest.mark.parametrize(("name", "minutes"), [("refresh", 5), ("listing", 5), ("audit", 10)])
def test_a_killed_process_stops_no_task_for_longer_than_some_minutes(name: str, minutes: int) -> None:
    [task] = [task for task in TASKS if task.name == name]

    def killed(_clock: Clock) -> Mapping[str, object]:
        raise Killed

    with pytest.raises(Killed):
        run(replace(task, run=killed), at=NOW)

    recorder = Recorder()
    successor = replace(task, run=recorder)
    assert run(successor, at=NOW + (minutes - 1) * MINUTE) == []
    assert run(successor, at=NOW + minutes * MINUTE) == [name]


@pytest.mark.on_every_engine
@pytest.mark.django_db(transaction=True)
def test_among_many_processes_one_runs_it() -> None:
    recorder = Recorder()
    run(recorder.task(), at=NOW)
    done = together([lambda: run(recorder.task(), at=NOW + timedelta(hours=1))] * 4)
    assert sorted(map(str, done)) == sorted(["['recorder']", "[]", "[]", "[]"])
    assert len(recorder.ran) == 2


@pytest.mark.on_every_engine
def test_every_task_runs_without_an_error() -> None:
    names = scheduler.run_due(clock=lambda: NOW)
    assert names == [task.name for task in TASKS]
    assert not ScheduledTask.objects.exclude(last_error="").exists()


@pytest.fixture
def scheduled(settings: Settings) -> None:
    settings.CLOCK = "thread"


@pytest.mark.usefixtures("scheduled")
def test_health_names_tasks_that_are_late_or_keep_failing() -> None:
    run(Recorder().task("fine"), Recorder().task("late"), Recorder().task("broken"), at=NOW)
    ScheduledTask.objects.filter(name="late").update(due_at=NOW - 5 * MINUTE)
    ScheduledTask.objects.filter(name="broken").update(failures=5)
    found = health.examine(now=NOW)
    assert (found.status, found.late_ticks) == ("unwell", ["broken", "late"])


def test_tasks_that_cron_runs_are_not_watched() -> None:
    run(Recorder().task("late"), at=NOW)
    assert health.examine(now=NOW + timedelta(days=1)).late_ticks == []
