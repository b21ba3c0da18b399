"""The cases of `bench/mails.py`, in a process with a database of its own: ours, and the floor by hand."""

import argparse
import asyncio
import json
import multiprocessing
import resource
import smtplib
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone
from psycopg.types.json import Jsonb

from bursary.assignments import actions, outcomes
from bursary.assignments.choices import LearnerState
from bursary.assignments.models import CHECK_NOW, LearnerContentAssignmentAction
from bursary.delivery import runner
from tests import world

NO_OPS = 200
FORK = multiprocessing.get_context("fork")

CLAIM = """
UPDATE assignments_learnercontentassignmentaction SET due_at = now() + interval '4 minutes', early = 0,
    lease_until = now() + interval '4 minutes', fence = fence + 1
WHERE id IN (
    SELECT id FROM assignments_learnercontentassignmentaction
    WHERE early IN (0, 1) AND lease_until IS NULL ORDER BY due_at LIMIT 20 FOR UPDATE SKIP LOCKED
) RETURNING id, fence, assignment_id, uuid, recipient
"""
BEGIN = """
UPDATE assignments_learnercontentassignmentaction SET status = 'running', attempts = attempts + 1,
    lease_until = now() + interval '4 minutes' WHERE id = %s AND fence = %s
"""
SETTLE = """
UPDATE assignments_learnercontentassignmentaction SET status = 'done', completed_at = now(), due_at = NULL,
    early = NULL, lease_until = NULL, provider_ref = %s, payload = %s WHERE id = %s AND fence = %s
"""
FOLLOW = """
UPDATE assignments_learnercontentassignment SET learner_state = %s, remind_at = %s, nudge_at = %s
WHERE id = %s
"""


class Sink(asyncio.Protocol):
    """An SMTP server that takes every mail after a delay."""

    delay = 0.0

    def connection_made(self, transport: Any) -> None:
        """Greet."""
        self._transport, self._rest, self._in_message = transport, b"", False
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer each command, and each message's end."""
        self._rest += data
        while True:
            end = b"\r\n.\r\n" if self._in_message else b"\r\n"
            line, found, rest = self._rest.partition(end)
            if not found:
                return
            self._rest = rest
            if self._in_message:
                self._in_message = False
                asyncio.get_running_loop().call_later(self.delay, self._transport.write, b"250 Kept\r\n")
            elif line[:4].upper() == b"DATA":
                self._in_message = True
                self._transport.write(b"354 Go on\r\n")
            else:
                self._transport.write(b"221 Bye\r\n" if line[:4].upper() == b"QUIT" else b"250 OK\r\n")


def serve_sink(delay: float, port: Any) -> None:
    """Serve for ever; send the port."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    Sink.delay = delay
    asyncio.run(serve())


def ours() -> None:
    """Deliver until nothing is due, as a thread of the server does."""
    while runner.drain(clock=timezone.now, limit=100, seconds=5):
        pass
    connections.close_all()


def floor(*, sends: bool = True) -> None:
    """Do the same by hand."""
    database = settings.DATABASES["default"]
    body = "Larkspur Logistics has assigned you a course.\r\n" * 150
    kept = Jsonb({"subject": "A course", "text": body[:2000], "html": body})
    mails = smtplib.SMTP("127.0.0.1", settings.EMAIL_PORT) if sends else None
    with psycopg.connect(host=database["HOST"], user="postgres", dbname=database["NAME"]) as connection:
        connection.autocommit = True
        while rows := connection.execute(CLAIM).fetchall():
            for pk, fence, assignment, uuid, recipient in rows:
                connection.execute(BEGIN, [pk, fence])
                if mails:
                    head = f"Message-ID: <{uuid}@testserver>\r\nTo: {recipient}\r\n\r\n"
                    mails.sendmail("bursary@localhost", [recipient], head + body)
                with connection.transaction():
                    connection.execute(SETTLE, [str(uuid), kept if sends else "{}", pk, fence])
                    connection.execute(FOLLOW, [LearnerState.WAITING, CHECK_NOW, CHECK_NOW, assignment])
    if mails:
        mails.quit()


def no_op() -> None:
    """Claim, begin and finish each action, without doing anything."""
    while batch := actions.claim(now=timezone.now(), lease=settings.LEASE, limit=20, start_attempts=False):
        for action in batch:
            actions.begin(action, now=timezone.now(), lease=settings.LEASE)
            actions.finish(action, outcomes.Done(), now=timezone.now())


def fill(count: int) -> None:
    """Let so many mails be due, and nothing else."""
    budget, content = world.given_budget(), world.given_content()
    world.allocate(budget, content, *world.addresses(count), now=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")  # as the database does in time


def in_processes(work: Callable[[], None], *, processes: int, threads: int) -> tuple[float, float]:
    """Return how many seconds all of them take, and how many of their processors' time."""

    def run() -> None:
        started = [threading.Thread(target=work) for _number in range(threads)]
        for one in started:
            one.start()
        for one in started:
            one.join()

    connections.close_all()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    children = [FORK.Process(target=run) for _number in range(processes)]
    began = time.monotonic()
    for child in children:
        child.start()
    for child in children:
        child.join()
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def unfinished() -> int:
    """Return how many actions are not finished."""
    return LearnerContentAssignmentAction.objects.filter(due_at__isnull=False).count()


def case(
    name: str, count: int, sides: Mapping[str, Callable[[], tuple[float, float]]], *, rounds: int
) -> dict[str, Any]:
    """Run both sides in turn, and return the medians of their seconds."""
    seconds: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for _round in range(rounds):
        for side, run in sides.items():
            fill(count)
            seconds[side].append(run())
            if left := unfinished():
                raise RuntimeError(f"{side}: {left} actions are not finished")
    (floor_took, floor_cpu), (took, cpu) = (
        (statistics.median(clock), statistics.median(processor))
        for clock, processor in (zip(*seconds[side], strict=True) for side in ("floor", "ours"))
    )
    return {
        "case": name,
        "floor_per_second": round(count / floor_took),
        "ours_per_second": round(count / took),
        "ratio": round(took / floor_took, 2),
        "floor_processor_ms": round(floor_cpu / count * 1000, 2),
        "ours_processor_ms": round(cpu / count * 1000, 2),
    }


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return how many seconds it takes, and how many of this process' processor time."""
    began, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - processor


def measure(chosen: argparse.Namespace) -> int:
    """Measure every case, print its line, and return the exit status."""
    missed = 0
    found = case(
        f"claim and settle {NO_OPS}",
        NO_OPS,
        {"floor": partial(timed, partial(floor, sends=False)), "ours": partial(timed, no_op)},
        rounds=max(chosen.rounds, 5),
    )
    print(json.dumps({**found, "target_ratio": 3}), flush=True)
    missed += found["ratio"] > 3 * 1.5
    for delay, usual_threads, target in ((0.0, 4, 200), (0.1, 16, 100)):
        receives, sends = FORK.Pipe(duplex=False)
        sink = FORK.Process(target=serve_sink, args=(delay, sends), daemon=True)
        sink.start()
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", receives.recv()
        settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
        threads = chosen.threads or usual_threads
        run = partial(in_processes, processes=chosen.processes, threads=threads)
        sides = {"floor": partial(run, floor), "ours": partial(run, ours)}
        name = f"mails, provider {delay * 1000:.0f} ms, {chosen.processes} x {threads} threads"
        found = case(name, chosen.mails, sides, rounds=chosen.rounds)
        print(json.dumps({**found, "target_per_second": target}), flush=True)
        missed += found["ours_per_second"] < target / 1.5
        sink.terminate()
        sink.join()
    return 1 if missed else 0
