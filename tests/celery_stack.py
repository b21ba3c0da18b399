"""Celery with real counterparts: a Redis, a worker of two processes, a beat, and a mail server on loopback.

Processes are started when a test first needs them, shared by all tests of the group `celery`, and work on the
tests' own database.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from kombu import pools

from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.config import celery_app as celery_app  # the app that `celery.current_app` returns
from bursary.delivery import broker
from tests.elapsed import until
from tests.event_bus.server import RedisServer, redis_server
from tests.forked import Forked
from tests.ops.processes import environment
from tests.smtp import MailServer, mail_server

GROUP = pytest.mark.xdist_group("celery")
"""Tests with this mark run in one process of the test run, and share one stack."""
WITH_WORKERS = (GROUP, pytest.mark.needs_row_locks, pytest.mark.takes_long)
"""Of tests that start workers: several processes that write, which SQLite is not for."""

SOONER = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "bursary.config.settings"
import django
django.setup()
from bursary.config import celery_app, cli
celery_app.ROUND_SECONDS = 1.0
for entry in celery_app.app.conf.beat_schedule.values():
    entry["schedule"] = 0.5
sys.exit(cli.main())
"""
"""The command, in which a worker's round and beat's wait for its first message take five seconds else."""


class CeleryStack:
    """The processes and servers. `paused()` and `killed()` are what happens to them on a bad day."""

    def __init__(self, folder: Path, redis: RedisServer, mail: MailServer) -> None:
        self.folder, self.redis, self.mail = folder, redis, mail
        self.broker_url = f"redis+socket://{redis.folder}/redis.sock"
        self._running: dict[str, Forked] = {}

    def env(self, name: str) -> dict[str, str]:
        """Return a process's environment, with a folder of its own."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return environment(
            folder,
            BURSARY_SECRET_KEY="a-key-of-tests-that-signs-nothing-else",
            BURSARY_BASE_URL="http://testserver",
            BURSARY_DATABASE_URL=database_url(),
            BURSARY_EXECUTOR="celery",
            BURSARY_BROKER_URL=self.broker_url,
            BURSARY_EMAIL_URL=f"smtp://127.0.0.1:{self.mail.port}",
            BURSARY_LOG_LEVEL="INFO",  # a line for each message that comes, and for each that is worked on
        )

    def worker(self) -> Forked:
        """Return the running worker; start it if there is none."""
        return self._process("worker", "--concurrency", "2")

    def beat(self) -> Forked:
        """Return the running beat; start it if there is none."""
        beat = self._process("beat")
        beat.send_signal(signal.SIGCONT)
        return beat

    def until_idle(self) -> None:
        """Let beat send nothing, until it is asked for again; wait until the worker has nothing in hand."""
        if beat := self._running.get("beat"):
            beat.send_signal(signal.SIGSTOP)
        if (worker := self._running.get("worker")) and worker.poll() is None:
            until(lambda: not self.waiting() and self._in_hand() == 0)

    def waiting(self) -> int:
        """Return how many messages no worker has received yet."""
        with self.redis.client as client:
            return sum(client.llen(queue) for queue in broker.QUEUES.values())

    def _in_hand(self) -> int:
        log = self.errors("worker")
        return log.count("] received") - log.count("] succeeded")

    def _process(self, *arguments: str) -> Forked:
        name = arguments[0]
        if name not in self._running or self._running[name].poll() is not None:
            env, folder = self.env(name), self.folder / name
            out, err = folder / "stdout", folder / "stderr"
            self._running[name] = Forked("-c", SOONER, *arguments, env=env, folder=folder, out=out, err=err)
        return self._running[name]

    def errors(self, name: str) -> str:
        """Return what a process wrote to stderr since it was started."""
        return (self.folder / name / "stderr").read_text()

    def kill(self) -> None:
        """Be gone at once, each process and its children."""
        for process in self._running.values():
            if process.poll() is None:
                for pid in [process.pid, *children(process.pid)]:
                    os.kill(pid, signal.SIGKILL)
                process.wait()
        self._running.clear()


def children(pid: int) -> list[int]:
    """Return the ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def paused(process: Forked) -> Iterator[None]:
    """Stop a process and its children for the duration, as a machine that is out of memory does."""
    pids = [process.pid, *children(process.pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def database_url() -> str:
    """Return the URL of the tests' database, for another process."""
    chosen = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{chosen['NAME']}"
    server, _, options = os.environ["BURSARY_DATABASE_URL"].partition("?")
    return f"{server.rpartition('/')[0]}/{chosen['NAME']}?{options}"


@contextmanager
def celery_stack(folder: Path) -> Iterator[CeleryStack]:
    """Run the servers for the duration; the processes come when they are asked for."""
    redis_folder = folder / "redis"
    redis_folder.mkdir()
    with mail_server() as mail, redis_server(redis_folder) as redis:
        stack = CeleryStack(folder, redis, mail)
        try:
            yield stack
        finally:
            stack.kill()
            pools.reset()  # type: ignore[no-untyped-call]  # kombu has types for a part only


def until_finished() -> None:
    """Wait until no action is open."""
    until(lambda: not LearnerContentAssignmentAction.objects.filter(early__isnull=False).exists())


def let_leases_end() -> None:
    """Write what is true when all leases of actions have ended: of those that run, and of those that wait."""
    past = timezone.now()
    claimed = LearnerContentAssignmentAction.objects.filter(lease_until__isnull=False)
    claimed.update(due_at=past, lease_until=past)
