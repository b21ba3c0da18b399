"""The consumer on a real Redis: whatever dies or is broken, no event is lost."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import DataError, OperationalError, connections
from pytest_django import Settings

from bursary.events import bus, inbox
from bursary.events.bus import BusLost, Consumer
from bursary.events.models import InboxEvent
from bursary.replica.models import ContentMetadata
from tests.elapsed import until
from tests.event_bus.entries import (
    AUTHORED,
    CONTENT,
    COURSE,
    LEDGER,
    PERSON,
    RUN,
    Fields,
    authored,
    content_changed,
    reversed_transaction,
)
from tests.event_bus.server import RedisServer, redis_server
from tests.world import NOW, given_content, given_run

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def server(running: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    settings.EVENT_BUS_URL = running.url
    monkeypatch.setattr(bus, "FIRST_PAUSE", timedelta(seconds=0.01))
    monkeypatch.setattr(bus, "WAIT_MS", 50)
    monkeypatch.setattr(bus, "close_old_connections", lambda: None)  # a test's transaction lives in one
    with running.client as client:
        client.flushall()
    return running


def put(server: RedisServer, *entries: Fields, stream: str = CONTENT) -> list[bytes]:
    with server.client as client:
        return [client.xadd(stream, entry) for entry in entries]


def consume(*, name: str = "one", prefix: str = "", patience: float = 5.0) -> dict[str, int]:
    consumer = Consumer(name=name, group="bursary", prefix=prefix)
    consumer.consume(threading.Event(), once=True, patience=patience)
    return dict(consumer.counts)


def pending(server: RedisServer, stream: str = CONTENT) -> int:
    with server.client as client:
        found: int = client.xpending(stream, "bursary")["pending"]
        return found


def test_what_was_published_before_the_first_run_and_between_runs_is_received(
    server: RedisServer,
) -> None:
    put(server, content_changed())
    assert consume() == {"received": 1}
    put(server, content_changed(), content_changed())
    assert consume() == {"received": 2}
    assert (consume(), pending(server)) == ({}, 0)


def test_the_topics_of_content_and_of_the_ledger_are_read_and_nothing_about_a_person_is_kept(
    server: RedisServer,
) -> None:
    transaction = uuid4()
    put(server, content_changed())
    put(server, reversed_transaction(transaction), stream=LEDGER)
    assert consume() == {"received": 2}
    content, ledger = InboxEvent.objects.order_by("kind")
    assert (content.kind, content.payload) == ("content.changed", {"content_keys": [RUN]})
    assert (ledger.kind, ledger.payload) == (
        "transaction.reversed",
        {"transaction_uuid": str(transaction)},
    )
    assert str(PERSON) not in str(list(InboxEvent.objects.values()))


@pytest.mark.parametrize("topic", AUTHORED)
def test_a_run_that_was_made_or_filled_in_studio_wakes_its_course(server: RedisServer, topic: str) -> None:
    content = given_content(COURSE)
    ContentMetadata.objects.filter(pk=content.pk).update(due_at=NOW + DAY, change_announced_at=None)
    put(server, authored(topic), stream=topic)

    assert consume() == {"received": 1}
    inbox.apply_due(clock=lambda: NOW)

    assert InboxEvent.objects.get().payload == {"content_keys": [RUN, COURSE]}
    assert InboxEvent.objects.get().outcome == "wanted"
    content.refresh_from_db()
    assert (content.due_at, content.change_announced_at) == (NOW, NOW)


@pytest.mark.parametrize("topic", [CONTENT, *AUTHORED])
@pytest.mark.parametrize("run", ["2026", "new"])
def test_every_variant_of_a_course_is_woken_by_a_run_known_or_not(
    server: RedisServer, topic: str, run: str
) -> None:
    key = f"course-v1:{COURSE}+{run}"
    courses = [given_content(COURSE, variant=variant, with_run=False) for variant in ("", "7" * 64)]
    given_run(courses[0], RUN)
    ContentMetadata.objects.update(due_at=NOW + DAY, early=0, change_announced_at=None)
    put(server, content_changed(key) if topic == CONTENT else authored(topic, key), stream=topic)

    assert consume() == {"received": 1}
    assert inbox.apply_due(clock=lambda: NOW) == {"wanted": 1}

    woken = ContentMetadata.objects.filter(due_at=NOW, change_announced_at=NOW)
    assert set(woken) == set(courses)


@pytest.mark.parametrize("topic", AUTHORED)
@pytest.mark.parametrize("run", ["course-v1:NobodyX+N1+2026", "library-v1:NobodyX+Books", "NobodyX/N1/2026"])
def test_what_was_made_of_content_that_is_not_here_changes_nothing(
    server: RedisServer, topic: str, run: str
) -> None:
    content = given_content(COURSE)
    ContentMetadata.objects.filter(pk=content.pk).update(due_at=NOW + DAY)
    put(server, authored(topic, run), {**authored(topic), b"event_data": b"\xff" * 9}, stream=topic)

    assert consume() == {"received": 1, "unreadable": 1}
    assert inbox.apply_due(clock=lambda: NOW) == {"nothing_held": 1}

    content.refresh_from_db()
    assert (content.due_at, content.change_announced_at) == (NOW + DAY, None)


def test_the_type_of_an_entry_decides_not_the_topic(server: RedisServer) -> None:
    put(server, authored("course-created"))
    assert consume() == {"received": 1}
    assert InboxEvent.objects.get().kind == "content.changed"


def test_streams_have_the_prefix_of_their_environment(server: RedisServer) -> None:
    put(server, content_changed(), stream=f"stage-{CONTENT}")
    put(server, content_changed())
    assert consume(prefix="stage") == {"received": 1}


@pytest.mark.on_every_engine
def test_an_event_that_comes_twice_is_stored_once(server: RedisServer) -> None:
    entry = content_changed()
    put(server, entry, entry)
    assert consume() == {"received": 1, "known": 1}
    assert InboxEvent.objects.count() == 1


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({b"a": b"b"}, id="no event"),
        pytest.param({**content_changed(), b"event_data": b""}, id="no data"),
        pytest.param({**content_changed(), b"event_data": b"\xff" * 50}, id="data that is no Avro"),
        pytest.param({**content_changed(), b"event_data": b"x" * (1024 * 1024 + 1)}, id="too much data"),
        pytest.param({**content_changed(), b"id": b"\xff\xfe"}, id="an id that is no text"),
        pytest.param({**content_changed(), b"id": b"7" * 300}, id="an id that is no uuid"),
        pytest.param(
            {**content_changed(), b"event_data": content_changed()[b"event_data"][:9]}, id="cut short"
        ),
        pytest.param(
            {**content_changed(), b"event_data": reversed_transaction(uuid4())[b"event_data"]},
            id="data of another type",
        ),
    ],
)
def test_what_is_malformed_is_set_aside_and_the_next_is_received(
    server: RedisServer, broken: Fields, caplog: pytest.LogCaptureFixture
) -> None:
    [entry_id] = put(server, broken)
    put(server, content_changed())
    assert consume() == {"unreadable": 1, "received": 1}
    set_aside = InboxEvent.objects.get(kind="unreadable")
    assert set_aside.event_id == f"{CONTENT}/{entry_id.decode()}"
    assert set_aside.last_error
    assert f"Entry {set_aside.event_id} of the event bus cannot be read" in caplog.text
    assert pending(server) == 0


def test_what_is_said_of_a_malformed_entry_is_one_line_without_addresses(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    entry, key = content_changed(), b"alice@learners.example\nWRONG"
    assert len(key) == len(RUN)
    put(server, entry | {b"event_data": entry[b"event_data"].replace(RUN.encode(), key)})
    assert consume() == {"unreadable": 1}
    assert re.fullmatch("InvalidKeyError: [^@\n]+", InboxEvent.objects.get().last_error)
    [line] = [one.getMessage() for one in caplog.records if "cannot be read" in one.getMessage()]
    assert "alice" not in line
    assert len(line.splitlines()) == 1


def test_events_of_other_types_are_ignored(server: RedisServer) -> None:
    put(server, {**reversed_transaction(uuid4()), b"type": b"org.openedx.something.else.v1"}, stream=LEDGER)
    assert consume() == {"ignored": 1}
    assert not InboxEvent.objects.exists()


def groups(server: RedisServer) -> int:
    with server.client as client:
        return len(client.xinfo_groups(CONTENT)) if client.exists(CONTENT) else 0


def breaking(monkeypatch: pytest.MonkeyPatch, error: Exception, *, times: int) -> None:
    """Let the next `times` writes into the inbox fail."""
    receive, left = inbox.receive, [error] * times

    def failing(*args: Any, **more: Any) -> bool:
        if left:
            raise left.pop()
        return receive(*args, **more)

    monkeypatch.setattr(inbox, "receive", failing)


@pytest.mark.on_every_engine
def test_while_the_database_is_away_nothing_is_acknowledged(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, content_changed(), content_changed())
    breaking(monkeypatch, OperationalError("The database is away."), times=1)
    with pytest.raises(BusLost, match="OperationalError"):
        consume(patience=-1)
    assert pending(server) == 2
    breaking(monkeypatch, OperationalError("The database is away."), times=3)
    assert consume() == {"received": 2}
    assert (pending(server), InboxEvent.objects.count()) == (0, 2)


@pytest.mark.on_every_engine
def test_an_entry_that_no_database_can_store_stops_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, content_changed(), content_changed())
    breaking(monkeypatch, DataError("It is too long."), times=1)
    assert consume() == {"unreadable": 1, "received": 1}


def test_what_another_consumer_did_not_acknowledge_waits_for_that_consumer(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(server, content_changed())
    breaking(monkeypatch, OperationalError("Dead."), times=1)
    with pytest.raises(BusLost):
        consume(name="gone", patience=-1)
    assert consume(name="another") == {}
    assert consume(name="gone") == {"received": 1}


def test_an_entry_that_was_trimmed_before_it_was_acknowledged_stops_nothing(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    [entry_id] = put(server, content_changed())
    breaking(monkeypatch, OperationalError("Dead."), times=1)
    with pytest.raises(BusLost):
        consume(patience=-1)
    with server.client as client:
        client.xdel(CONTENT, entry_id)
    put(server, content_changed())
    assert consume() == {"trimmed": 1, "received": 1}
    assert pending(server) == 0


def test_a_stream_that_is_emptied_and_made_anew_is_read_on(server: RedisServer) -> None:
    consume()
    with server.client as client:
        client.flushall()
    put(server, content_changed())
    assert consume() == {"received": 1}


@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_redis_may_go_and_come_back(server: RedisServer) -> None:
    consumer, stop = Consumer(name="one", group="bursary"), threading.Event()

    def run() -> None:
        try:
            consumer.consume(stop)
        finally:
            connections.close_all()

    consuming = threading.Thread(target=run)
    consuming.start()
    try:
        until(lambda: groups(server) == 1)
        server.kill()
        server.start()
        put(server, content_changed())
        until(lambda: consumer.counts["received"] == 1)
    finally:
        stop.set()
        consuming.join()
    assert not consuming.is_alive()


def test_a_redis_that_stays_away_ends_the_command_with_an_error(
    server: RedisServer, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.EVENT_BUS_URL = f"unix://{tmp_path / 'missing.sock'}"
    monkeypatch.setattr(Consumer.consume, "__kwdefaults__", {"once": False, "patience": 0.05})
    with pytest.raises(CommandError, match=r"given up\. For \d+ seconds: ConnectionError"):
        call_command("consume_events")


def test_the_command_says_what_came(server: RedisServer, settings: Settings) -> None:
    put(server, content_changed())
    said = StringIO()
    call_command("consume_events", once=True, stdout=said)
    assert said.getvalue() == "Stopped; 1 received.\n"
    with server.client as client:
        assert [one["name"] for one in client.xinfo_consumers(CONTENT, "bursary")] == [b"bursary"]
    settings.EVENT_BUS_URL = ""
    with pytest.raises(CommandError, match="BURSARY_EVENT_BUS_URL"):
        call_command("consume_events")
