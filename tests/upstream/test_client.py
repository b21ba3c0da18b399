"""Every way in which a service fails ends in time, under its name."""

import contextlib
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bursary.lib.breaker import Breaker, BreakerState
from bursary.upstream import client as http
from bursary.upstream.client import Client
from bursary.upstream.errors import (
    Outage,
    UnreadableAnswer,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bursary.upstream.token import Tokens
from tests.elapsed import AT_ONCE, taking_at_most
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.faults import Fault
from tests.enterprise_catalog.server import CATALOG, CLIENT_SECRET, Upstream
from tests.together import together
from tests.upstream.conftest import HURRIED

pytestmark = pytest.mark.takes_long

ONE = "/api/v1/content-metadata/X%2B1/"
MANY = "/api/v1/content-metadata/"
NAMED = "http://catalog.example"
DIFFERENCE = f"/api/v1/enterprise-catalogs/{CATALOG}/generate_diff"

Make = Callable[..., Client]


def failure_of(client: Client, path: str = ONE, **more: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as failed:
        client.get(path, **more)
    return failed.value


def state_of(client: Client) -> BreakerState:
    return client.breaker.state


def test_a_plus_and_an_umlaut_arrive_as_they_are(upstream: Upstream, client: Make) -> None:
    answer = client().get(MANY, params=[("content_identifiers", "X+1"), ("content_identifiers", "Ünï&=/ 1")])

    assert isinstance(answer, dict)
    assert [record["key"] for record in answer["results"]] == ["X+1"]
    assert upstream.requests[-1].query["content_identifiers"] == ["X+1", "Ünï&=/ 1"]


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        (faults.hang, UpstreamUnavailable, Outage.DEADLINE_EXCEEDED),
        (faults.drip, UpstreamUnavailable, Outage.DEADLINE_EXCEEDED),
        (faults.drip_headers, UpstreamUnavailable, Outage.DEADLINE_EXCEEDED),
        (faults.drip_chunks, UpstreamUnavailable, Outage.DEADLINE_EXCEEDED),
        (faults.slow(1.0), UpstreamUnavailable, Outage.DEADLINE_EXCEEDED),
        (faults.reset, UpstreamUnavailable, Outage.CONNECTION_LOST),
        (faults.break_off, UpstreamUnavailable, Outage.CONNECTION_LOST),
        (faults.garbage, UpstreamUnavailable, Outage.CONNECTION_LOST),
        (faults.status(500), UpstreamUnavailable, Outage.SERVER_ERROR),
        (faults.status(503), UpstreamUnavailable, Outage.SERVER_UNAVAILABLE),
        (faults.status(504), UpstreamUnavailable, Outage.SERVER_UNAVAILABLE),
        (faults.status(429, retry_after=60), UpstreamUnavailable, Outage.TOO_MANY_REQUESTS),
        (faults.status(400), UpstreamRefused, "refused"),
        (faults.status(403), UpstreamRefused, "forbidden"),
        (faults.status(404), UpstreamRefused, "not_found"),
        (faults.status(302), UpstreamRefused, "redirected"),
        (faults.text(b"<html>"), UnreadableAnswer, "not_json"),
        (faults.text(b'{"key": "\xff"}'), UnreadableAnswer, "not_json"),
        (faults.text(b"[" * 100_000), UnreadableAnswer, "not_json"),
        (faults.text(b"9" * 5_000), UnreadableAnswer, "not_json"),
        (faults.bad_gzip, UnreadableAnswer, "not_json"),
        (faults.huge, UnreadableAnswer, "too_large"),
        (faults.bomb, UnreadableAnswer, "too_large"),
    ],
)
def test_a_failure_ends_in_time_and_has_a_name(
    upstream: Upstream, client: Make, fault: Fault, kind: type[UpstreamError], reason: str
) -> None:
    asking = client(max_bytes=faults.MEGABYTE, attempts=1)
    asking.get(ONE)
    timeout = HURRIED if reason == Outage.DEADLINE_EXCEEDED else None
    upstream.fails_with(fault)

    with taking_at_most(AT_ONCE):
        failure = failure_of(asking, timeout=timeout)

    assert (type(failure), failure.reason) == (kind, reason)
    assert CLIENT_SECRET not in str(failure)


def test_an_answer_of_exactly_so_many_bytes_is_read(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.text(b'"12345678"'))

    assert client(max_bytes=10).get(ONE) == "12345678"
    assert failure_of(client(max_bytes=9)).reason == "too_large"


def test_an_answer_without_a_body_is_no_value(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.text(b""))

    assert client().get(ONE) is None


def test_an_address_where_nothing_listens_has_a_failure_of_its_own(client: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
        failure = failure_of(client(base_url=closed, credentials=None, attempts=1))

    assert failure.reason == Outage.CONNECTION_FAILED


def test_a_server_without_tls_is_not_spoken_to(upstream: Upstream, client: Make) -> None:
    failure = failure_of(client(base_url=upstream.url.replace("http", "https"), credentials=None, attempts=1))

    assert failure.reason in (Outage.CONNECTION_FAILED, Outage.DEADLINE_EXCEEDED)
    assert upstream.requests == []


def test_an_unknown_name_has_a_failure_of_its_own(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_asked: object, **_more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert failure_of(client(base_url=NAMED, credentials=None, attempts=1)).reason == Outage.CONNECTION_FAILED


def test_a_resolver_that_hangs_delays_no_caller(client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_asked, **_more: [][: released.wait(60)])

    with taking_at_most(AT_ONCE):
        asking = client(base_url=NAMED, credentials=None, deadline=HURRIED)
        assert failure_of(asking).reason == Outage.DEADLINE_EXCEEDED
    released.set()


def test_a_resolver_that_hangs_keeps_no_process_from_ending() -> None:
    program = """
import socket, time
from datetime import timedelta
from bursary.upstream.client import Client
from bursary.upstream.errors import UpstreamError

def ask(address):
    try:
        Client(address, deadline=timedelta(seconds=1), attempts=1).get("/")
    except UpstreamError as failure:
        print(failure.reason)

ask("http://127.0.0.1:1")  # reads the certificates, which takes a while
socket.getaddrinfo = lambda *_asked, **_more: print("asked") or time.sleep(600)
ask("http://catalog.example")
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=120, check=True, capture_output=True)
    assert ended.stdout.split()[1:] == [b"asked", b"deadline_exceeded"]


def test_the_next_address_of_a_name_is_tried(
    upstream: Upstream, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *asked, **more: (
            [*look_up("::1", *asked, **more), *look_up("127.0.0.1", *asked, **more)]
            if host in ("catalog.example", b"catalog.example")
            else look_up(host, *asked, **more)
        ),
    )

    assert client(base_url=upstream.url.replace("127.0.0.1", "catalog.example")).get(ONE)


def test_what_may_pass_is_tried_again_and_nothing_else(
    upstream: Upstream, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    asking = client()
    upstream.fails_with(faults.status(503), times=2)
    assert asking.post(DIFFERENCE, json={}, idempotent=True)
    assert len(upstream.asked("generate_diff")) == 3
    assert len(pauses) == 2
    assert max(pauses) < 1

    upstream.fails_with(faults.status(404), times=1)
    assert failure_of(asking).reason == "not_found"
    assert len(upstream.asked("content-metadata")) == 1


def test_attempts_are_bounded(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.reset)

    assert failure_of(client(attempts=2)).reason == Outage.CONNECTION_LOST
    assert len(upstream.asked("content-metadata")) == 2


def test_what_must_not_happen_twice_is_asked_once(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.break_off)

    with pytest.raises(UpstreamUnavailable):
        client().post(DIFFERENCE, json={"content_keys": []})
    assert len(upstream.asked("generate_diff")) == 1


def test_a_pause_that_is_asked_for_is_kept_if_there_is_time(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.status(429, retry_after=1), times=1)
    began = time.monotonic()
    assert client().get(ONE)
    assert time.monotonic() - began >= 1

    upstream.fails_with(faults.status(429, retry_after=100_000), times=1)
    failure = failure_of(client())
    assert isinstance(failure, UpstreamUnavailable)
    assert (failure.outage, failure.retry_after) == (Outage.TOO_MANY_REQUESTS, 3600.0)


def test_a_shorter_deadline_holds_and_a_longer_one_does_not(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.hang)
    minute = timedelta(minutes=1)
    for deadline, timeout in ((minute, HURRIED), (HURRIED, minute)):
        began = time.monotonic()
        with taking_at_most(AT_ONCE):
            failure = failure_of(client(deadline=deadline), timeout=timeout)
        assert failure.reason == Outage.DEADLINE_EXCEEDED
        assert time.monotonic() - began >= HURRIED.total_seconds()
    assert failure_of(client(), timeout=timedelta(0)).reason == Outage.DEADLINE_EXCEEDED


def test_a_service_that_fails_is_left_alone_and_found_again(upstream: Upstream, client: Make) -> None:
    seconds = [0.0]
    breaker = Breaker(failures=2, cool_down=timedelta(seconds=30), clock=lambda: seconds[0])
    asking = client(breaker=breaker, attempts=1)
    upstream.fails_with(faults.status(503))
    assert [failure_of(asking).reason for _ in range(3)] == [
        Outage.SERVER_UNAVAILABLE,
        Outage.SERVER_UNAVAILABLE,
        Outage.CIRCUIT_OPEN,
    ]
    assert len(upstream.asked("content-metadata")) == 2
    assert state_of(asking) is BreakerState.OPEN
    refused = failure_of(asking)
    assert isinstance(refused, UpstreamUnavailable)
    assert 15 <= (refused.retry_after or 0) <= 45
    assert "left alone" in str(refused)

    upstream.recovers()
    seconds[0] += 45  # the cool-down, and as much again for jitter

    assert asking.get(ONE)
    assert state_of(asking) is BreakerState.CLOSED


@pytest.mark.parametrize(
    ("fault", "opens"),
    [
        (faults.status(404), False),
        (faults.status(400), False),
        (faults.huge, False),
        (faults.status(401), True),
        (faults.status(429), True),
        (faults.text(b"<html>"), True),
        (faults.status(500), True),
    ],
)
def test_the_breaker_counts_what_says_that_the_service_is_out(
    upstream: Upstream, client: Make, fault: Fault, opens: bool
) -> None:
    asking = client(breaker=Breaker(failures=1), attempts=1, max_bytes=1000)
    upstream.fails_with(fault)

    failure_of(asking)

    assert (asking.breaker.state is BreakerState.OPEN) is opens


@pytest.mark.parametrize(
    ("fault", "opens"),
    [(faults.status(500), False), (faults.text(b"<html>"), False), (faults.status(503), True)],
)
def test_a_fault_at_a_suspect_question_is_not_counted(
    upstream: Upstream, client: Make, fault: Fault, opens: bool
) -> None:
    asking = client(breaker=Breaker(failures=1))
    upstream.fails_with(fault)

    failure_of(asking, bisecting=True)

    assert len(upstream.asked("content-metadata")) == 1
    assert (asking.breaker.state is BreakerState.OPEN) is opens


def test_no_cookie_of_the_service_is_kept(upstream: Upstream, client: Make) -> None:
    asking = client()
    asking.get(ONE)
    asking.get(ONE)

    assert [asked.cookie for asked in upstream.requests] == ["", "", ""]


def test_a_forked_process_has_connections_of_its_own(upstream: Upstream, client: Make) -> None:
    asking = client()
    asking.get(ONE)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            asking.get(ONE)
            os._exit(0)
        os._exit(1)

    _pid, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert asking.get(ONE)
    assert len(upstream.asked("content-metadata")) == 3


def test_certificates_of_the_operators_own_are_used(
    client: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(http, "_loops", {})  # as at the first call of a process
    (tmp_path / "own.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))

    with pytest.raises(ssl.SSLError):
        client().get(ONE)


def test_more_threads_than_connections_take_turns(upstream: Upstream, client: Make) -> None:
    asking = client()
    upstream.fails_with(faults.slow(0.05))

    answers = together([lambda: asking.get(ONE)] * 24)

    assert all(isinstance(answer, dict) for answer in answers)
    assert len(upstream.asked("oauth2")) == 1


def test_a_refusal_is_quoted_in_a_few_plain_characters(upstream: Upstream, client: Make) -> None:
    upstream.fails_with(faults.status(400, body=b"no\x1b[31m way\n\n" + b"x" * 10_000))

    failure = failure_of(client())

    assert isinstance(failure, UpstreamRefused)
    assert failure.excerpt.startswith("no [31m way xxx")
    assert len(failure.excerpt) == 200


def test_nothing_is_logged_that_is_a_secret(
    upstream: Upstream, client: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asking = client()
    asking.get(ONE)
    token = upstream.requests[-1].authorization.removeprefix("JWT ")
    upstream.fails_with(faults.status(400, body=f"You are {token}".encode()))

    failure = failure_of(asking)

    assert str(failure) == "It answered with 400. (You are …)"
    assert len(token) > 20
    assert token not in caplog.text
    assert CLIENT_SECRET not in caplog.text


def test_a_token_longer_than_what_is_read_of_a_refusal_is_not_repeated(
    upstream: Upstream, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def current(_tokens: object) -> str:
        return "".join(f"{number:05}." for number in range(1000))

    monkeypatch.setattr(Tokens, "current", current)
    upstream.fails_with(faults.status(400, body=b"You are " + b"".join(b"%05d." % n for n in range(900))))

    assert str(failure_of(client())) == "It answered with 400. (You are …)"
