"""Wake-ups over a broker: few messages, and a broker that is away delays and fails nothing."""

import socket
from collections.abc import Iterator
from io import StringIO
from time import monotonic
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import broker, executors
from bursary.ops import health, metrics
from tests.celery_stack import GROUP, CeleryStack
from tests.elapsed import AT_ONCE, taking_at_most
from tests.world import ALICE, BOB, addresses, allocate, given_assignment, given_budget, given_content

pytestmark = [pytest.mark.django_db(transaction=True), GROUP]

UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
def queue(celery: CeleryStack, settings: Settings) -> Iterator[CeleryStack]:
    """The broker's second database, which no worker reads."""
    settings.BROKER_URL = f"{celery.broker_url}?virtual_host=1"
    yield celery
    with celery.redis.client as client:
        client.select(1)
        client.flushdb()


@pytest.fixture
def silent() -> Iterator[str]:
    """A broker that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def waiting(stack: CeleryStack, message: str = broker.DELIVER) -> int:
    with stack.redis.client as client:
        client.select(1)
        length: int = client.llen(broker.QUEUES[message])
        return length


def status_screen() -> str:
    answer = StringIO()
    call_command("status", stdout=answer)
    return answer.getvalue()


def test_one_learner_sends_one_message_and_many_send_a_few(queue: CeleryStack) -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE)
    assert waiting(queue) == 1
    allocate(budget, content, *addresses(200))
    assert waiting(queue) == 1 + executors.MAX_MESSAGES


def test_where_no_worker_runs_the_queues_stay_short(queue: CeleryStack) -> None:
    for _number in range(5):
        broker.BROKER.send(broker.DELIVER, count=executors.MAX_MESSAGES)
    broker.BROKER.send(broker.TICK)
    assert waiting(queue) == broker.MAX_WAITING
    assert waiting(queue, broker.TICK) == 1


def test_an_outage_of_the_broker_fails_nothing_and_is_logged_once_and_counted(
    queue: CeleryStack, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = settings.BROKER_URL
    settings.BROKER_URL = UNREACHABLE
    with taking_at_most(AT_ONCE):
        given_assignment()
        given_assignment(address=BOB)
    assert LearnerContentAssignmentAction.objects.filter(due_at__isnull=False).count() == 2
    assert caplog.text.count("The broker takes no wake-ups: OperationalError") == 1
    assert "bursary_wake_ups_unsent_total 2.0" in exposed()
    assert "bursary_broker_reachable 0.0" in exposed()
    assert health.examine(now=timezone.now()).problems[-1:] == ["broker_unreachable"]
    assert "The broker takes no wake-ups: work waits until it is back. None is lost." in status_screen()

    settings.BROKER_URL = answering
    executors.wake()
    assert waiting(queue) == 0  # it is left alone for a while
    monkeypatch.setattr(broker.BROKER._breaker, "_open_until", monotonic())
    found = health.examine(now=timezone.now())
    assert "broker_unreachable" not in found.problems  # found out by the question
    executors.wake()
    assert waiting(queue) == 1
    assert caplog.text.count("The broker takes wake-ups again; 3 could not be sent") == 1
    assert "bursary_broker_reachable 1.0" in exposed()


def test_a_request_waits_for_a_broker_that_is_away_once_in_each_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, tried = [0.0], []

    def away(_message: str, **_count: int) -> None:
        tried.append(now[0])
        raise ConnectionRefusedError("no broker")

    ours = broker.Broker()
    monkeypatch.setattr(broker, "_publish", away)
    monkeypatch.setattr(ours._breaker, "_clock", lambda: now[0])
    for second in (0, 0, 9.999, 10, 19.999, 20):
        now[0] = second
        ours.send(broker.DELIVER)

    assert tried == [0, 10, 20]
    assert ours.unsent == 6


def test_a_broker_that_never_answers_delays_a_request_by_seconds_at_most(
    celery: CeleryStack, settings: Settings, silent: str
) -> None:
    settings.BROKER_URL = silent
    with taking_at_most(AT_ONCE):
        given_assignment()
    assert broker.BROKER.unsent == 1


def test_the_end_of_a_kept_connection_is_no_outage(
    queue: CeleryStack, caplog: pytest.LogCaptureFixture
) -> None:
    executors.wake()
    queue.redis.kill()
    queue.redis.start()
    executors.wake()
    assert waiting(queue) == 2
    assert caplog.text == ""


@pytest.mark.parametrize(("lost", "sent"), [(1, 1), (2, 0)])
def test_a_connection_that_is_lost_while_it_sends_is_replaced_once(
    queue: CeleryStack, monkeypatch: pytest.MonkeyPatch, lost: int, sent: int
) -> None:
    send, errors = current_app.send_task, [ConnectionResetError("reset by peer")] * lost

    def losing(*args: Any, **more: Any) -> Any:
        if errors:
            raise errors.pop()
        return send(*args, **more)

    monkeypatch.setattr(current_app, "send_task", losing)
    executors.wake()

    assert waiting(queue) == sent
    assert broker.BROKER.reachable == bool(sent)


def exposed() -> str:
    return metrics.exposition(now=timezone.now()).decode()
