"""Fault 5 of the peer: a worker was killed with four mails in hand, and they were never sent."""

import pytest
from django.utils import timezone

from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from tests.celery_stack import WITH_WORKERS, CeleryStack, let_leases_end, until_finished
from tests.elapsed import until
from tests.world import addresses, allocate, given_budget, given_content

pytestmark = [pytest.mark.django_db(transaction=True), *WITH_WORKERS]

MAILS = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)


def test_fault_05_the_mails_of_a_killed_worker_are_sent_by_the_next(celery: CeleryStack) -> None:
    celery.worker()
    celery.mail.thinks_for = 2.0
    allocate(given_budget(), given_content(), *addresses(4), now=timezone.now())
    until(lambda: MAILS.filter(status=Status.RUNNING).exists())
    celery.kill()
    celery.mail.thinks_for = 0
    in_hand = MAILS.filter(status=Status.RUNNING).count()
    let_leases_end()

    celery.worker()
    celery.beat()
    until_finished()
    assert MAILS.filter(status=Status.DONE).count() == 4
    assert {mail["To"] for mail in celery.mail.received} == set(addresses(4))
    # Where the server had a mail before its worker died, there are two of one name, and no more.
    names = [mail["Message-ID"] for mail in celery.mail.received]
    assert set(names) == {f"<{uuid}@testserver>" for uuid in MAILS.values_list("uuid", flat=True)}
    assert len(names) <= 4 + in_hand
