"""`bursary serve` in a process of its own: it answers, and delivers what is requested while it runs."""

import gc
import http.client
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from bursary.ops import serving
from tests import world
from tests.elapsed import PATIENCE, until
from tests.ops.processes import Started, environment, start, start_anew
from tests.smtp import MailServer, mail_server
from tests.world import CATALOG

SLOW_CLIENTS = 200
HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: "
HALF_A_BODY = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{"
ACTIONS = "assignments_learnercontentassignmentaction"

# A process leaves a new connection to the other for 0.1 s, in which a busy machine may not let that run.
LEAVING_AS_LONG_AS_IT_TAKES = f"""
import sys
from bursary.config.cli import main
from bursary.ops import connection_counts, http_worker
http_worker.YIELD_SECONDS = connection_counts.HANGS_SECONDS = {PATIENCE}
sys.exit(main())
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_is_in_use_is_refused_with_a_hint(taken: int) -> None:
    with pytest.raises(serving.CannotListen, match=f"127.0.0.1:{taken}: Address already in use. Stop what"):
        serving.listen(f"127.0.0.1:{taken}")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "bind",
    [
        *("8000", "127.0.0.1:", "127.0.0.1:http", ":8000", "127.0.0.1:70000"),
        pytest.param(f"127.0.0.1:{'9' * 5000}", id="more digits than Python reads"),
    ],
)
def test_an_address_that_is_none_is_refused_with_an_example(bind: str) -> None:
    with pytest.raises(serving.CannotListen, match=r"such as 127\.0\.0\.1:8000"):
        serving.listen(bind)
    with pytest.raises(CommandError) as refused:
        call_command("serve", bind=bind)
    assert refused.value.returncode == 2


def test_the_port_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8123")
    assert serving.default_bind() == "127.0.0.1:8123"

    monkeypatch.delenv("PORT")
    assert serving.default_bind() == "127.0.0.1:8000"


def test_no_other_process_can_listen_on_the_same_port() -> None:
    with serving.listen("127.0.0.1:0") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(serving.CannotListen):
            serving.listen(f"127.0.0.1:{port}")


def test_the_address_of_a_socket_is_one_for_a_browser() -> None:
    with serving.listen("[::1]:0") as listener:
        assert serving.address_of(listener) == f"http://[::1]:{listener.getsockname()[1]}/"


def test_what_is_loaded_to_serve_is_never_looked_through_for_garbage() -> None:
    thresholds = gc.get_threshold()
    try:
        loaded: list[object] = []
        loaded.append(loaded)
        serving.load()
        assert not any(one is loaded for one in gc.get_objects())
    finally:
        gc.set_threshold(*thresholds)


@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_no_less_than_one_process_serves(workers: str) -> None:
    with pytest.raises(CommandError, match="not a number from 1 up"):
        call_command("serve", f"--workers={workers}")


@contextmanager
def served(folder: Path, port: int) -> Iterator[tuple[Started, MailServer]]:
    """Serve with two processes, and with a mail server."""
    with mail_server() as mail:
        env = environment(folder, PORT=str(port), BURSARY_EMAIL_URL=f"smtp://127.0.0.1:{mail.port}")
        server = start_anew(LEAVING_AS_LONG_AS_IT_TAKES, "serve", "--workers", "2", env=env)
        try:
            until(lambda: answers(port, "/healthz") == 200, server)
            until(lambda: len(children(server)) == 2, server)
            yield server, mail
        finally:
            server.kill()
            server.wait()


@pytest.mark.takes_long
@pytest.mark.django_db(transaction=True)
def test_it_serves_beside_slow_clients_delivers_and_breaks_nothing_off_when_it_is_stopped(
    installed: Path, port: int, subtests: pytest.Subtests
) -> None:
    (installed / "catalog").mkdir()
    (installed / "catalog" / f"{CATALOG}.jsonl").write_text(
        '{"content_type": "course", "key": "RiversideX+TIDES", "title": "Tidal Engines"}'
    )
    budget, content = world.given_budget(), world.given_content("RiversideX+TIDES")
    copy("budgets_customer", "budgets_account", "budgets_budget", "replica_contentmetadata", to=installed)

    with served(installed, port) as (server, mail):
        assert [answers(port, path) for path in ("/", "/static/dashboard/bursary.css")] == [200, 200]
        with subtests.test("both processes work over connections that are kept"):
            until(lambda: connections_kept(2, server, port) == [1, 1], server)  # one may begin later to serve
            until(lambda: connections_of(server) == [0, 0], server)
            assert connections_kept(4, server, port) == [2, 2]
        with (
            subtests.test("a request is answered beside many that do not come to an end"),
            ExitStack() as slow,
        ):
            for begun in (HALF_A_HEAD, b""):
                for _ in range(SLOW_CLIENTS):
                    slow.enter_context(slow_client(port, begun))
            bodies = [slow.enter_context(slow_client(port, HALF_A_BODY)) for _ in range(SLOW_CLIENTS)]
            with connection_to(port) as other:
                for _ in range(10):
                    assert ask(other) == (200, "")
            assert all(map(is_open, bodies)), "it was answered once these were cut off"

        world.allocate(budget, content, world.ALICE, now=timezone.now())
        mail.holds_answers = True
        copy("assignments_learnercontentassignment", ACTIONS, to=installed)
        until(lambda: bool(mail.received), server)
        stop_in_the_middle(server, port, mail)
        assert (notified(installed), len(mail.received)) == ([("done",)], 1)
    said = f"Bursary {version('bursary')} serves at http://127.0.0.1:{port}/ Stop with Ctrl-C.\n"
    assert [(installed / name).read_text() for name in ("stdout", "stderr")] == [said, ""]
    with serving.listen(f"127.0.0.1:{port}"):
        pass  # no process was left behind on it


def stop_in_the_middle(server: Started, port: int, mail: MailServer) -> None:
    """Stop the server while a request is sent, another may be on its way, and a mail: all are answered."""
    with connection_to(port) as kept, slow_client(port, HALF_A_BODY) as sending:
        assert ask(kept) == (200, "")
        server.send_signal(signal.SIGTERM)
        while (answer := ask(kept)) == (200, ""):  # until the signal has come
            pass
        assert answer == (200, "close")
        until(lambda: answers(port, "/healthz") == 0, server)
        mail.holds_answers = False

        sending.sendall(b"}")
        assert sending.recv(100).startswith(b"HTTP/1.1 200 ")
    assert server.wait(timeout=PATIENCE) == 0


@pytest.mark.takes_long
def test_no_log_names_the_token_of_a_link(installed: Path, port: int) -> None:
    env = environment(installed, PORT=str(port))
    token = f"answer.{'x' * 60}"

    server = start("serve", "--access-log", env=env)
    try:
        until(lambda: answers(port, "/healthz") == 200, server)
        assert answers(port, f"/a/{token}/") == 404
        assert answers(port, a_question_for_a_hundred_runs()) == 401  # not 400: it is read to its end
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
    logs = (installed / "stdout").read_text(), (installed / "stderr").read_text()
    assert '"GET /a/…/ HTTP/1.1" 404' in logs[0]
    assert "Not Found: /a/…/" in logs[1]
    assert "xxx" not in "".join(logs)


def children(server: Started) -> list[str]:
    return Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()


def connections_of(server: Started) -> list[int]:
    """Return how many connections each process of the server has: its sockets but the one that listens."""
    return [sum(map(is_socket, Path(f"/proc/{pid}/fd").iterdir())) - 1 for pid in children(server)]


def is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except FileNotFoundError:  # it was closed meanwhile
        return False


def connections_kept(count: int, server: Started, port: int) -> list[int]:
    """Return how many connections each process has while so many are kept, each after an answer."""
    with ExitStack() as kept:
        for _ in range(count):
            assert ask(kept.enter_context(connection_to(port))) == (200, "")
        return connections_of(server)


def connection_to(port: int) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE))


@contextmanager
def slow_client(port: int, begun: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(begun)
        yield client


def ask(connected: http.client.HTTPConnection) -> tuple[int, str]:
    """Return the status, and what the answer says of the connection."""
    connected.request("GET", "/healthz")
    with connected.getresponse() as answer:
        answer.read()
        return answer.status, answer.getheader("Connection", "")


def is_open(client: socket.socket) -> bool:
    """Return whether the server has neither answered nor closed the connection."""
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    return False


def a_question_for_a_hundred_runs() -> str:
    keys = [("content_key", f"course-v1:RiversideX+TIDES{number}+3T2026") for number in range(100)]
    question = f"{reverse('can-redeem', args=[CATALOG])}?{urlencode(keys)}"
    assert len(question) > 5000
    return question


def answers(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def notified(folder: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(folder / "bursary.sqlite3", timeout=PATIENCE)) as database:
        return database.execute(f"SELECT status FROM {ACTIONS} WHERE action_type = 'notified'").fetchall()


def copy(*tables: str, to: Path) -> None:
    """Copy rows of the tests into the server's database, as another process would write them."""
    with closing(sqlite3.connect(to / "bursary.sqlite3", timeout=PATIENCE)) as database, database:
        database.execute("ATTACH ? AS tests", [connection.settings_dict["NAME"]])
        for table in tables:
            database.execute(f"INSERT INTO {table} SELECT * FROM tests.{table}")
