"""Fault 6 of the peer: the provider delivered, its answer was lost: six deliveries, and `email_error`."""

import email
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.delivery import executors
from bursary.ops import deliver as ops_deliver
from tests.celery_stack import GROUP, CeleryStack, until_finished
from tests.elapsed import until
from tests.scripted_smtp import BREAKS, ScriptedServer, scripted_server
from tests.world import NOW, action_of, deliver, given_assignment

pytestmark = pytest.mark.django_db


@pytest.fixture
def server(settings: Settings) -> Iterator[ScriptedServer]:
    with scripted_server(settings) as server:
        yield server


def test_fault_06_what_may_have_arrived_is_repeated_twice_under_one_name_and_blames_no_address(
    server: ScriptedServer,
) -> None:
    server.answers["message"] = BREAKS
    assignment = given_assignment()
    for hour in range(12):
        deliver(now=NOW + timedelta(hours=hour))

    names = [email.message_from_bytes(message)["Message-ID"] for message in server.received]
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert names == [f"<{notified.uuid}@testserver>"] * 3
    assert (notified.status, notified.error_code) == (Status.FAILED, "answer_lost")
    assert notified.error_reason == ErrorReason.INTERNAL_API_ERROR
    assert "may have arrived" in notified.detail


def test_fault_06_an_answer_that_comes_at_the_second_attempt_is_the_mail_done(server: ScriptedServer) -> None:
    server.answers["message"] = BREAKS
    assignment = given_assignment()
    deliver()
    server.answers.clear()
    deliver(now=NOW + timedelta(hours=1))
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.status, notified.attempts, len(server.received)) == (Status.DONE, 2, 2)


@GROUP
@pytest.mark.needs_row_locks  # several processes that write
@pytest.mark.django_db(transaction=True)
def test_fault_06_a_worker_too_repeats_what_may_have_arrived_under_one_name(celery: CeleryStack) -> None:
    celery.mail.loses_answers = True
    celery.worker()
    assignment = given_assignment(now=timezone.now())
    until(lambda: action_of(assignment, ActionType.NOTIFIED).attempt_log)
    celery.mail.loses_answers = False
    ops_deliver.make_postponed_due(now=timezone.now())
    executors.wake()
    until_finished()

    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.status, notified.attempts) == (Status.DONE, 2)
    assert [entry["cause"] for entry in notified.attempt_log] == ["answer_lost"]
    names = [mail["Message-ID"] for mail in celery.mail.received]
    assert names == [f"<{notified.uuid}@testserver>"] * 2
