"""Workers that can be killed: real processes of the command that an executor is started with, any number."""

import enum
import fcntl
import itertools
import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import Pipe
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.db import connection
from pytest_django import Settings

from tests.elapsed import PATIENCE, until
from tests.event_bus.server import redis_server
from tests.forked import Forked
from tests.ops.processes import database_url, environment


class Executor(enum.Enum):
    """What carries out due work: the value of BURSARY_EXECUTOR, the command of a worker, one beside it."""

    THREAD = ("thread", "serve --bind 127.0.0.1:0 --workers 1", "")
    CELERY = ("celery", "worker --concurrency 2 --only deliveries", "beat")

    def __init__(self, setting: str, worker: str, beside: str) -> None:
        self.setting, self.worker, self.beside = setting, worker.split(), beside.split()

    def require(self) -> None:
        """Skip the test where this is no part of what is under test."""
        if self.worker[0] not in get_commands():
            pytest.skip(f"there is no `bursary {self.worker[0]}` here")
        if self is Executor.CELERY and connection.vendor == "sqlite":
            pytest.skip("Celery's workers are several processes, which SQLite is not for")


AT_ONCE_PER_WORKER = 2
"""Mails that a worker sends at the same time, by threads or processes."""


@dataclass(frozen=True)
class Worker:
    """A worker: a group of processes, of which any that lives keeps the file locked."""

    group: int
    lock: Path

    def kill(self) -> None:
        """Kill all its processes at once, and wait until they are dead."""
        os.killpg(self.group, signal.SIGKILL)
        self.wait_for_death()

    def pause(self) -> None:
        """Stop all its processes where they are."""
        os.killpg(self.group, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let them run again."""
        os.killpg(self.group, signal.SIGCONT)

    def wait_for_death(self) -> None:
        """Wait until the last of its processes is dead."""
        until(lambda: not self.is_alive())

    def is_alive(self) -> bool:
        """Return whether one of its processes lives."""
        with self.lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


class Crew:
    """Starts workers on the tests' database, that send to a mail server on loopback."""

    def __init__(self, folder: Path, executor: Executor, *, smtp_port: int, **more: str) -> None:
        self.log = folder / "workers.log"
        self._executor, self._folder = executor, folder
        env = environment(
            folder,
            **{
                "BURSARY_DATABASE_URL": database_url(),
                "BURSARY_SECRET_KEY": "a-key-of-tests-that-signs-nothing-else",
                "BURSARY_BASE_URL": "http://testserver",
                "BURSARY_EMAIL_URL": f"smtp://127.0.0.1:{smtp_port}",
                "BURSARY_EXECUTOR": executor.setting,
                "BURSARY_CLOCK": "none",
                **more,
            },
        )
        read, orders = Pipe(duplex=False)
        answers, out = Pipe(duplex=False)
        with read, orders, answers, out:
            program, err = ("-m", "tests.faults.forking"), folder / "forking.log"
            self._forking = Forked(*program, env=env, folder=folder, read=read, out=out, err=err)
            self._orders = os.fdopen(os.dup(orders.fileno()), "w")
            self._answers = os.fdopen(os.dup(answers.fileno()))
        self._numbers = itertools.count(1)

    def start(self, *, dies: str = "") -> Worker:
        """Start a worker, which kills itself at a point of `forking`, if one is given."""
        return self.run(self._executor.worker, dies=dies)

    def run(self, command: Sequence[str], *, dies: str = "") -> Worker:
        """Run `bursary …`, and have it killed in the end."""
        lock = self._folder / f"worker-{next(self._numbers)}.lock"
        order = {"command": command, "point": dies, "lock": str(lock)}
        self._orders.write(f"{json.dumps(order)}\n")
        self._orders.flush()
        return Worker(int(self._answers.readline()), lock)

    def end(self) -> None:
        """Kill every worker."""
        with self._answers:
            self._orders.close()
            self._forking.wait(PATIENCE)


@contextmanager
def crew(
    folder: Path, executor: Executor, settings: Settings, *, smtp_port: int, **more: str
) -> Iterator[Crew]:
    """Have a crew for the duration, which this process wakes, too; `more` is added to its environment."""
    executor.require()
    with ExitStack() as running:
        if executor is Executor.CELERY:
            import_module("bursary.config.celery_app")
            redis = running.enter_context(redis_server(folder))
            more["BURSARY_BROKER_URL"] = settings.BROKER_URL = f"redis+socket://{redis.folder}/redis.sock"
            settings.EXECUTOR = executor.setting
        started = Crew(folder, executor, smtp_port=smtp_port, **more)
        running.callback(started.end)
        if executor.beside:
            started.run(executor.beside)
        yield started
