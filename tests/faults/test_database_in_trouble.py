"""A database server that is stopped, restarted, busy, or cut off at a commit: 503, and repeating is safe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.test import RequestFactory
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import world
from tests.api.door import Door, door_of
from tests.faults.lossy_proxy import lossy_proxy
from tests.faults.restartable_server import restartable_server
from tests.faults.servers import WORDS, Words

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_row_locks]

POLICIES = "/api/v1/subsidy-access-policies/"


@contextmanager
def connected_to(**changes: Any) -> Iterator[None]:
    """Let the service reach its database otherwise."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(changes)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


@contextmanager
def other_connection() -> Iterator[CursorWrapper]:
    """Open another connection to the same database, in a transaction that is undone."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


@pytest.fixture
def words() -> Words:
    return WORDS[connection.vendor]


def number_of_connection(words: Words) -> int:
    """Return the server's number of our connection."""
    with connection.cursor() as cursor:
        cursor.execute(words.this_connection)
        [(number,)] = cursor.fetchall()
    return int(number)


def asked(path: str, *, key: str = "") -> tuple[int, dict[str, str]]:
    """Return status and headers of a request as a web server passes it on: signals of its end included."""
    environ = RequestFactory().get(path, headers={"Authorization": f"Bearer {key}"} if key else {}).environ
    answers: list[tuple[int, dict[str, str]]] = []

    def start(status: str, headers: list[tuple[str, str]], _error: object = None, /) -> Callable[..., None]:
        answers.append((int(status[:3]), dict(headers)))
        return lambda _body: None

    response: Any = WSGIHandler()(environ, start)
    b"".join(response)
    response.close()
    return answers[0]


@pytest.fixture
def budget() -> Budget:
    return world.given_budget(seats=10)


@pytest.fixture
def content(budget: Budget) -> ContentMetadata:
    return world.given_content()


@pytest.fixture
def door(budget: Budget) -> Door:
    door = door_of(Role.ADMINISTRATOR, customer=budget.customer)
    door.client.raise_request_exception = False
    return door


def reason(answer: Any) -> str:
    """Return the reason of a 503 with `Retry-After`."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/json")
    assert int(answer.headers["Retry-After"]) > 0
    found: str = answer.json()["reason"]
    return found


def reserved(budget: Budget) -> int:
    """Return the seats that are reserved, of which each is one assignment."""
    budget.refresh_from_db()
    return LearnerContentAssignment.objects.filter(budget=budget).count()


@pytest.mark.parametrize(("lost", "stored"), [("request", 0), ("answer", 1)])
def test_a_commit_of_which_the_answer_is_lost_is_stored_or_not_and_repeated(
    lost: str,
    stored: int,
    door: Door,
    budget: Budget,
    content: ContentMetadata,
    words: Words,
    settings: Settings,
) -> None:
    settings.POSTS_PER_MINUTE = 0  # the first COMMIT is then the allocation's
    with lossy_proxy(words.socket_path) as proxy, connected_to(**words.by_way_of(proxy.port)):
        assert door.policies().status_code == 200
        proxy.cut = lost
        assert reason(door.allocate(budget, content, world.ALICE)) == "outcome_unknown"
        assert proxy.cut is None
        assert reserved(budget) == stored

        answer = door.allocate(budget, content, world.ALICE)

    assert (answer.status_code, len(answer.json()["created"])) == (202, 1 - stored)
    assert reserved(budget) == 1
    assert world.timeline(LearnerContentAssignment.objects.get()).count(("notified", "pending")) == 1


def test_a_connection_that_ends_inside_a_transaction_is_no_doubt_about_its_outcome(
    door: Door, budget: Budget, content: ContentMetadata, words: Words
) -> None:
    def end_it(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("INSERT INTO"):
            return execute(words.end_this_connection, None, *rest[1:])
        return execute(sql, *rest)

    with connection.execute_wrapper(end_it):
        assert reason(door.allocate(budget, content, world.ALICE)) == "temporarily_unavailable"
    assert reserved(budget) == 0
    assert door.allocate(budget, content, world.ALICE).status_code == 202


def test_a_lock_that_is_waited_for_too_long_is_repeated(
    door: Door, budget: Budget, content: ContentMetadata, words: Words
) -> None:
    with other_connection() as other, connected_to(**words.without_waiting()):
        other.execute("SELECT 1 FROM budgets_budget FOR UPDATE")
        assert reason(door.allocate(budget, content, world.ALICE)) == "temporarily_unavailable"
        other.db.rollback()
        assert door.allocate(budget, content, world.ALICE).status_code == 202


def test_a_connection_from_before_a_restart_fails_no_request(budget: Budget, words: Words) -> None:
    key = world.given_api_key(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    assert asked(POLICIES, key=key)[0] == 200
    number = number_of_connection(words)
    with other_connection() as other:
        other.execute(words.end_a_connection, [number])
    assert connection.connection is not None
    assert asked(POLICIES, key=key)[0] == 200
    assert number_of_connection(words) != number


@pytest.mark.takes_long
def test_a_server_that_is_stopped_is_waited_for_and_found_again(budget: Budget, tmp_path: Path) -> None:
    key = world.given_api_key(world.given_user(Role.ADMINISTRATOR, customer=budget.customer))
    copied = dict(connection.settings_dict)
    with restartable_server(tmp_path, copying=copied) as server, connected_to(**server.settings):
        assert asked(POLICIES, key=key)[0] == 200
        server.stop()
        for _again in range(2):
            status, headers = asked(POLICIES, key=key)
            assert (status, headers["Content-Type"]) == (503, "application/json")
            assert headers["Retry-After"]
        assert asked("/healthz")[0] == 503
        server.start()
        assert asked(POLICIES, key=key)[0] == 200
