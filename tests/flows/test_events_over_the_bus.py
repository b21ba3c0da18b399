"""Courses change upstream, the bus says so, everything goes wrong on the way; and the replica is right."""

import random
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments import redemption
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.events import inbox
from bursary.events.models import InboxEvent
from bursary.ops import refresh_runs
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from tests import world
from tests.elapsed import PATIENCE, until
from tests.enterprise_catalog.server import (
    CATALOG,
    CLIENT_ID,
    CLIENT_SECRET,
    Upstream,
    enterprise_catalog,
)
from tests.event_bus.entries import CONTENT, LEDGER
from tests.event_bus.server import Producer, RedisServer, producer, redis_server
from tests.ops.processes import Environment, database_url, environment, python, start
from tests.replica.listing import recorded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]

MINUTE = timedelta(minutes=1)
PAID = "RiversideX+PAID"  # not one of upstream's


@pytest.fixture
def upstream(settings: Settings) -> Iterator[Upstream]:
    with enterprise_catalog(recorded("courses")[:8]) as running:
        settings.CATALOG_URL = settings.OAUTH_URL = running.url
        settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
        yield running


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@pytest.fixture
def others(bus: RedisServer) -> Iterator[Producer]:
    """Studio and the ledger's service."""
    with producer(bus.url) as running:
        yield running


@pytest.fixture
def machine(bus: RedisServer, tmp_path: Path) -> Environment:
    """The environment of a consumer that shares our database."""
    return environment(
        tmp_path,
        BURSARY_DATABASE_URL=database_url(),
        BURSARY_EVENT_BUS_URL=bus.url,
        BURSARY_SECRET_KEY="a-key-of-tests-that-signs-nothing-else",
    )


def read_all(now: datetime) -> Any:
    """Read the whole catalog as upstream serves it, and return what was different."""
    return refresh.refresh_catalog(
        CATALOG, source=refresh.configured_source(), now=now, trigger=RefreshTrigger.CRON
    )


def tick(now: datetime) -> None:
    """Apply the events in the inbox, and refresh what is due."""
    inbox.apply_due(clock=lambda: now)
    refresh_runs.refresh_run(clock=lambda: now)


def killed(*plans: str, machine: Environment) -> list[str]:
    """Run the consumer once for each plan, until it is killed; return the signals that ended them."""
    ran = python("-m", "tests.event_bus.dying", *plans, env=machine)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def quiet(bus: RedisServer) -> bool:
    """Whether everything on the bus was given to us, and acknowledged."""
    with bus.client as client:
        for stream in (CONTENT, LEDGER):
            [group] = client.xinfo_groups(stream)
            last = client.xinfo_stream(stream)["last-generated-id"]
            if group["pending"] or group["last-delivered-id"] != last:
                return False
    return True


def runs() -> list[str]:
    """Return a run of each of upstream's courses, by which Studio knows it."""
    served = ContentMetadata.objects.filter(content_type="courserun").exclude(parent_key=PAID)
    pks = served.order_by("parent_key", "pk")
    first = dict(reversed(list(pks.values_list("parent_key", "content_key"))))
    return sorted(first.values())


def spoil(bus: RedisServer) -> None:
    """Repeat every entry, in another order, with rubbish in between."""
    with bus.client as client:
        for stream in (CONTENT, LEDGER):
            entries = [fields for _, fields in client.xrange(stream)]
            random.Random(7).shuffle(entries)
            for fields in entries:
                client.xadd(stream, {b"rubbish": b"\xff\x00"})
                client.xadd(stream, fields)
                client.xadd(stream, {**fields, b"event_data": fields[b"event_data"][:5]})


def given_paid() -> LearnerContentAssignment:
    """Return an accepted assignment; the ledger now says that its money was returned."""
    content = world.given_content(PAID)
    assignment = world.given_assignment(content=content, now=timezone.now())
    redemption.begin(assignment, now=timezone.now())
    world.deliver(now=timezone.now())
    assignment.refresh_from_db()
    return assignment


def hear_it_all(bus: RedisServer, others: Producer, machine: Environment) -> None:
    """Consume the bus: killed twice, then by a consumer that gets all of it again, and is stopped."""
    assert killed("before:2", "after:3", machine=machine) == [str(signal.SIGKILL.value)] * 2
    spoil(bus)
    survivor = start("consume_events", env=machine)
    try:
        until(lambda: quiet(bus))
        others.publish(run=runs()[0])
        until(lambda: quiet(bus))
    finally:
        survivor.terminate()
        assert survivor.wait(timeout=PATIENCE) == 0


def test_afterwards_and_quiet_the_replica_equals_upstream(
    upstream: Upstream, bus: RedisServer, others: Producer, machine: Environment
) -> None:
    now = timezone.now()
    read_all(now)
    assignment = given_paid()
    for run in runs():
        others.publish(run=run)
    others.publish(committed=str(assignment.transaction_uuid))
    others.publish(reversed=str(assignment.transaction_uuid))

    hear_it_all(bus, others, machine)

    readable = InboxEvent.objects.exclude(kind="unreadable")
    assert readable.filter(kind="content.changed").count() == len(runs()) + 1
    assert readable.filter(kind="transaction.reversed").count() == 1
    assert InboxEvent.objects.filter(kind="unreadable").count() >= 2 * len(runs())

    # Upstream does not show yet what its events announced.
    tick(timezone.now())
    courses = list(ContentMetadata.objects.filter(content_type="course", gone_at=None))
    announced = [course for course in courses if course.change_announced_at]
    assert len(announced) == len(runs())
    for course in announced:
        upstream.database.edit(course.content_key, title=f"Anew: {course.title}")
    upstream.sync()
    tick(timezone.now() + 3 * MINUTE)

    assert ContentMetadata.objects.filter(title__startswith="Anew: ").count() >= len(announced)
    report = read_all(timezone.now() + 4 * MINUTE)
    assert (report.changed, report.created, report.records > 0) == (0, 0, True)
    assert not ContentMetadata.objects.exclude(change_announced_at=None).exists()
    assert not InboxEvent.objects.exclude(due_at=None).exists()
    assignment.refresh_from_db()
    assert assignment.state == State.REVERSED
