"""Workers and beat on a real RabbitMQ: a long form, for root, with Debian's server."""

import os
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import broker, executors
from tests.celery_stack import WITH_WORKERS, CeleryStack, let_leases_end, until_finished
from tests.elapsed import until
from tests.rabbitmq import SERVER, rabbitmq
from tests.world import addresses, allocate, given_budget, given_content

pytestmark = [
    pytest.mark.django_db(transaction=True),
    *WITH_WORKERS,
    pytest.mark.skipif(
        not (os.environ.get("BURSARY_TEST_SOAK") and SERVER.exists() and os.getuid() == 0),
        reason="the long form, and needs root and Debian's rabbitmq-server",
    ),
]
MAILS = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)


def test_on_rabbitmq_all_is_done_though_it_was_away_and_a_worker_was_killed(
    celery: CeleryStack, settings: Settings, tmp_path: Path
) -> None:
    budget, content = given_budget(), given_content()
    stack = CeleryStack(tmp_path, celery.redis, celery.mail)
    with rabbitmq() as server:
        settings.BROKER_URL = stack.broker_url = server.url
        try:
            executors.wake()
            server.kill()
            server.start()
            executors.wake()  # by a connection of before
            assert (broker.BROKER.reachable, broker.BROKER.unsent) == (True, 0)

            stack.worker()
            allocate(budget, content, *addresses(50), now=timezone.now())
            until_finished()
            stack.beat()
            server.kill()
            allocate(budget, content, *addresses(10, start=50), now=timezone.now())
            assert not broker.BROKER.reachable
            server.start()
            until_finished()

            stack.mail.thinks_for = 1.0
            allocate(budget, content, *addresses(20, start=60), now=timezone.now())
            until(lambda: MAILS.filter(status=Status.RUNNING).count() == 2)
            stack.kill()
            stack.mail.thinks_for = 0
            let_leases_end()
            stack.worker()
            stack.beat()
            until_finished()
        finally:
            stack.kill()

    assert MAILS.filter(status=Status.DONE).count() == 80
    assert {mail["To"] for mail in stack.mail.received} == set(addresses(80))
    assert len(stack.mail.received) <= 82
    assert len({mail["Message-ID"] for mail in stack.mail.received}) == 80
