"""The connections of one process of the server, driven turn by turn: what lasts too long ends."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waitress import wasyncore  # type: ignore[import-untyped]  # waitress has no types

from bursary.lib import logs
from bursary.ops import http_worker
from bursary.ops.connection_counts import HANGS_SECONDS, ConnectionCounts
from bursary.ops.http_worker import (
    ACCEPTED_AT_ONCE,
    HEAD_SECONDS,
    IDLE_SECONDS,
    REQUEST_SECONDS,
    YIELD_SECONDS,
    YIELD_STEP_SECONDS,
    HttpServer,
)
from tests.elapsed import AT_ONCE
from tests.standing_clock import StandingClock

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
BODY = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
REQUEST = HEAD + b"\r\n"
MUCH = b"x" * (1 << 20)

Start = Callable[..., Any]


class Application:
    """Answers `/` at once, unless it waits for the test, or sends without end or without a length."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.endless = self.streams = False
        self.ended = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Iterator[bytes]:
        self.goes_on.wait(AT_ONCE)
        length = [] if self.streams else [("Content-Length", str(1 << 40) if self.endless else "2")]
        start_response("200 OK", length)
        try:
            if environ["REQUEST_METHOD"] != "HEAD":
                yield b"ok"
            while self.endless:
                yield MUCH
        finally:
            self.ended.set()


class Served:
    """One or two processes' servers that share a socket, and the application."""

    def __init__(self) -> None:
        self.application = Application()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.listener.setblocking(False)
        self.counts = ConnectionCounts(3)
        self.servers: list[HttpServer] = []
        self.clients: list[socket.socket] = []

    def serve(self) -> HttpServer:
        server = HttpServer(
            self.application,
            self.listener.dup(),
            threads=1,
            log_access=lambda task: None,
            counts=self.counts,
            number=self.counts.open(),
        )
        self.servers.append(server)
        return server

    def client(self, *begun: bytes) -> socket.socket:
        """Connect, and send each part in a turn of its own."""
        client = socket.create_connection(self.listener.getsockname(), timeout=AT_ONCE)
        self.clients.append(client)
        for part in begun:
            client.sendall(part)
            self.turns(self.servers[0])
        return client

    @staticmethod
    def turns(server: HttpServer) -> None:
        """Let the server do what there is to do: accept, read, and close or write."""
        for _ in range(4):
            server.poll(seconds=0.005)

    def close(self) -> None:
        self.application.goes_on.set()
        for client in self.clients:
            client.close()
        for server in self.servers:
            server.end()
        self.listener.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    it = StandingClock()
    monkeypatch.setattr(http_worker, "time", it)
    return it


@pytest.fixture
def served() -> Iterator[Served]:
    it = Served()
    yield it
    it.close()


def is_ended(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


@pytest.mark.parametrize(
    ("begun", "seconds"),
    [
        ([HEAD], HEAD_SECONDS),
        ([b"G", b"E", b"T"], HEAD_SECONDS),
        ([BODY, b"}"], REQUEST_SECONDS),
        ([b""], IDLE_SECONDS),
    ],
)
def test_what_is_sent_too_slowly_is_ended_after_its_time(
    served: Served, begun: list[bytes], seconds: int
) -> None:
    server = served.serve()
    client = served.client(*begun)
    if seconds > IDLE_SECONDS:  # that something was sent meanwhile is not under test
        next(iter(server.active_channels.values())).last_activity += seconds

    server.maintenance(time.time() + seconds - 5)
    served.turns(server)
    assert not is_ended(client)

    server.maintenance(time.time() + seconds + 5)
    served.turns(server)
    assert is_ended(client)


def test_the_time_of_a_request_begins_anew_on_a_connection_that_is_kept(served: Served) -> None:
    server = served.serve()
    client = served.client(REQUEST)
    client.setblocking(False)
    until(lambda: b"ok" in client.recv(1000), server)
    [connection] = server.active_channels.values()
    connection.began -= HEAD_SECONDS + 5
    client.sendall(HEAD)
    served.turns(server)

    server.maintenance(time.time())
    served.turns(server)
    assert not is_ended(client)


def test_a_request_that_runs_is_not_ended_nor_is_what_was_sent_behind_it(served: Served) -> None:
    server = served.serve()
    served.application.goes_on.clear()
    client = served.client(REQUEST + HEAD)

    server.maintenance(time.time() + REQUEST_SECONDS + 5)
    served.turns(server)
    served.application.goes_on.set()
    client.setblocking(False)
    until(lambda: b"ok" in client.recv(1000), server)
    assert not is_ended(client)


@pytest.mark.parametrize(("method", "body"), [(b"GET", b"2\r\nok\r\n0\r\n\r\n"), (b"HEAD", b"")])
def test_the_answer_to_head_has_no_body_where_that_to_get_is_streamed(
    served: Served, method: bytes, body: bytes
) -> None:
    server = served.serve()
    served.application.streams = True
    client = served.client(REQUEST.replace(b"GET", method))
    client.setblocking(False)
    received: list[bytes] = []

    def ends() -> bool:
        received.append(client.recv(1000))
        return not received[-1]

    until(ends, server)
    head, _, rest = b"".join(received).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert rest == body


def test_a_client_that_takes_nothing_keeps_no_thread(served: Served) -> None:
    server = served.serve()
    served.application.endless = True
    served.client(REQUEST)
    [connection] = server.active_channels.values()
    until(lambda: connection.total_outbufs_len > connection.adj.outbuf_high_watermark, server)
    assert not served.application.ended.is_set()

    def ends() -> bool:
        server.maintenance(time.time() + IDLE_SECONDS + 5)
        return served.application.ended.is_set()

    until(ends, server)
    assert not server.active_channels


def test_a_new_connection_is_left_to_the_process_with_fewer_while_that_takes_it(served: Served) -> None:
    first, second = served.serve(), served.serve()
    second.poll(seconds=0)
    served.client(b"")
    assert (len(first.active_channels), len(second.active_channels)) == (1, 0)

    served.client()
    first.poll(seconds=0.005)
    assert len(first.active_channels) == 1
    second.poll(seconds=0.005)
    assert len(second.active_channels) == 1

    served.client(b"")
    served.client()
    began = time.monotonic()
    until(lambda: len(first.active_channels) == 3, first)  # the second does nothing: it has had its time
    assert time.monotonic() - began >= YIELD_SECONDS


def test_a_connection_that_others_do_not_take_is_left_for_its_time_and_the_next_one_anew(
    served: Served, clock: StandingClock
) -> None:
    first, second = served.serve(), served.serve()
    second.poll(seconds=0)
    served.client(b"")
    margin = YIELD_STEP_SECONDS / 10

    def left_at(*instants: float) -> list[bool]:
        """Return whether a connection that waits is left at each of these seconds from now."""
        began, before, found = clock.now, len(first.active_channels), []
        served.client()
        for instant in instants:
            clock.now = began + instant
            served.turns(first)
            found.append(len(first.active_channels) == before)
        return found

    instants = (0, YIELD_SECONDS / 2, YIELD_SECONDS - YIELD_STEP_SECONDS, YIELD_SECONDS + margin)
    assert left_at(*instants) == [True, True, True, False]
    # The next one, right after, has its time anew.
    assert left_at(*instants) == [True, True, True, False]

    # What is taken by the other process is not the one that comes later.
    assert left_at(0) == [True]
    second.poll(seconds=0.005)
    assert len(second.active_channels) == 1
    clock.now += YIELD_SECONDS + margin
    assert left_at(0, YIELD_SECONDS - margin) == [True, True]


@pytest.mark.parametrize(("fewest", "most"), [(7, 8), (15, 17), (16, 19)])
def test_of_many_connections_a_process_takes_an_eighth_more_than_another_has(
    served: Served, clock: StandingClock, fewest: int, most: int
) -> None:
    first, second = served.serve(), served.serve()
    served.counts.write(second.number, fewest, now=clock.now)
    for _ in range(most + 1):
        served.client()
    first.poll(seconds=0.005)
    assert len(first.active_channels) == min(most, ACCEPTED_AT_ONCE)
    served.turns(first)
    assert len(first.active_channels) == most


def test_after_leaving_a_connection_a_process_looks_again_soon_and_not_at_once(
    served: Served, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = served.serve(), served.serve()
    second.poll(seconds=0)
    served.client(b"")
    waits: list[float] = []
    loop = wasyncore.loop

    def noted(timeout: float, **more: object) -> None:
        waits.append(timeout)
        loop(0.005, **more)

    monkeypatch.setattr(wasyncore, "loop", noted)
    served.client()
    first.poll(seconds=1)
    assert not first.readable()
    first.poll(seconds=1)
    clock.now += YIELD_STEP_SECONDS * 1.1
    assert first.readable()
    assert waits == [1, YIELD_STEP_SECONDS]


def test_nothing_is_left_to_a_process_that_hangs_or_does_not_serve_yet(served: Served) -> None:
    first, second = served.serve(), served.serve()
    for _ in range(2):
        served.client()
        first.poll(seconds=0.005)
    assert len(first.active_channels) == 2

    served.counts.write(second.number, 0, now=time.monotonic() - HANGS_SECONDS)
    served.client()
    first.poll(seconds=0.005)
    assert len(first.active_channels) == 3


def test_a_process_that_stops_takes_what_waits_and_is_not_waited_for(served: Served) -> None:
    first, second = served.serve(), served.serve()
    second.poll(seconds=0)
    served.client(b"")
    served.client()

    second.stop_accepting()
    assert len(second.active_channels) == 1
    served.turns(second)  # it goes on with what it has
    for _ in range(2):
        served.client()
        first.poll(seconds=0.005)
    assert len(first.active_channels) == 3


def test_the_count_of_a_process_that_has_ended_is_no_process_s() -> None:
    counts = ConnectionCounts(2)
    assert counts.least(now=5) is None
    one, other = counts.open(), counts.open()
    assert counts.least(now=5) is None
    counts.write(one, 7, now=5)
    counts.write(other, 3, now=5)
    assert (counts[one], counts.least(now=5)) == (7, 3)

    counts.close(other)
    assert counts.least(now=5) == 7
    assert counts.open() == other
    assert counts.least(now=5 + HANGS_SECONDS - 1) == 7
    assert counts.least(now=5 + HANGS_SECONDS) is None


@pytest.mark.parametrize(
    ("asked", "logged"),
    [
        ("/assignments/?search=Ann&page=2", "/assignments/?search=…&page=…"),
        ("/x/?ann@x.example", "/x/?…=…"),
        ("/x/ann%40x.example/y", "/x/…/y"),
        ("https://b.example/x?next=/a/#ann@x.example", "https://b.example/x?next=…"),
        ('/x"\x1b[2J', "/x??[2J"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_the_access_log_has_what_was_asked_without_what_was_searched_for(asked: str, logged: str) -> None:
    assert logs.masked_url(asked) == logged


def until(happens: Callable[[], object], server: HttpServer) -> None:
    end = time.monotonic() + AT_ONCE
    while True:
        server.poll(seconds=0.005)
        try:
            if happens():
                return
        except BlockingIOError:
            pass
        assert time.monotonic() < end, "waited too long"
