"""`bursary worker` and `bursary beat` in processes of their own, on a real Redis."""

import signal
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import broker, executors
from bursary.ops.models import ScheduledTask
from tests import world
from tests.celery_stack import WITH_WORKERS, CeleryStack, paused, until_finished
from tests.elapsed import PATIENCE, until
from tests.world import ALICE, action_of, addresses, allocate, given_assignment, given_budget, given_content

pytestmark = [pytest.mark.django_db(transaction=True), *WITH_WORKERS]

ACTIONS = LearnerContentAssignmentAction.objects.all()


def test_a_worker_does_what_is_requested(celery: CeleryStack) -> None:
    celery.worker()
    assignment = given_assignment(now=timezone.now())
    until_finished()
    assert world.timeline(assignment)[1:] == [("learner_linked", "done"), ("notified", "done")]
    assert [mail["To"] for mail in celery.mail.received] == [ALICE]


def test_beat_finds_work_without_a_message_and_runs_the_scheduled_tasks(
    celery: CeleryStack, settings: Settings
) -> None:
    celery.worker()
    settings.EXECUTOR = "none"  # as if its message was lost
    given_assignment(now=timezone.now())
    celery.beat()
    until_finished()
    assert len(celery.mail.received) == 1
    until(lambda: ScheduledTask.objects.filter(name="expire", finished_at__isnull=False, failures=0).exists())


def test_messages_that_come_more_than_once_send_one_mail(celery: CeleryStack) -> None:
    with paused(celery.worker()):
        assignment = given_assignment(now=timezone.now())
        for _copy in range(5):
            executors.wake()
    until_finished()
    celery.until_idle()
    assert len(celery.mail.received) == 1
    assert action_of(assignment, ActionType.NOTIFIED).attempts == 1


def test_a_worker_that_was_stopped_past_its_lease_writes_nothing(
    celery: CeleryStack, settings: Settings
) -> None:
    worker = celery.worker()
    celery.mail.holds_answers = True
    assignment = given_assignment(now=timezone.now())
    until(lambda: celery.mail.received)
    with paused(worker):
        celery.mail.holds_answers = False
        later = timezone.now() + settings.LEASE + timedelta(seconds=1)
        world.deliver(now=later)  # by another worker
        finished = action_of(assignment, ActionType.NOTIFIED)
    celery.until_idle()

    assert (finished.status, finished.attempts, finished.completed_at) == (Status.DONE, 2, later)
    assert vars(action_of(assignment, ActionType.NOTIFIED)) | {"_state": None} == vars(finished) | {
        "_state": None
    }
    assert {mail["Message-ID"] for mail in celery.mail.received} == {f"<{finished.uuid}@testserver>"}
    assert len(celery.mail.received) == 2


def test_what_was_requested_while_the_broker_was_away_is_done_after_its_restart(celery: CeleryStack) -> None:
    celery.worker()
    celery.beat()
    until(lambda: "] succeeded" in celery.errors("worker"))
    # Where a message is in hand, kombu's close of a lost connection may fail and end the worker, which a
    # supervisor starts again.
    celery.until_idle()
    before = len(celery.errors("worker"))
    celery.redis.kill()
    assignment = given_assignment(now=timezone.now())
    assert not broker.BROKER.reachable
    celery.redis.start()
    celery.beat()
    until_finished()
    assert world.timeline(assignment)[1:] == [("learner_linked", "done"), ("notified", "done")]
    assert len(celery.mail.received) == 1

    logged = celery.errors("worker")[before:]
    assert logged.count("Connection to broker lost") + logged.count("Cannot connect to") == 1
    assert logged.count("WARNING celery.worker.consumer.connection: Connected to") == 1
    assert "Traceback" not in logged
    assert "PendingDeprecation" not in logged


def test_a_worker_that_is_terminated_finishes_the_mails_in_hand_and_no_others(celery: CeleryStack) -> None:
    worker = celery.worker()
    celery.mail.thinks_for = 0.5
    allocate(given_budget(), given_content(), *addresses(30), now=timezone.now())
    until(lambda: celery.mail.received)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=PATIENCE) == 0

    mails = ACTIONS.filter(action_type=ActionType.NOTIFIED)
    done = mails.filter(status=Status.DONE, attempts=1)
    assert 0 < done.count() == len(celery.mail.received) < 30
    assert mails.filter(status=Status.PENDING, attempts=0).count() == 30 - done.count()


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_without_celery_as_the_executor_they_refuse_to_start(command: str) -> None:
    with pytest.raises(CommandError, match="Set BURSARY_EXECUTOR=celery"):
        call_command(command)
