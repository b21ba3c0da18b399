"""Fault 4 of the peer: the broker was away, and 10 learners were assigned that nothing ever wrote to."""

import pytest

from bursary.access.models import Role
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.delivery import broker
from tests.api.door import Door
from tests.celery_stack import WITH_WORKERS, CeleryStack, until_finished
from tests.world import addresses, given_api_key, given_budget, given_content, given_user

pytestmark = [pytest.mark.django_db(transaction=True), *WITH_WORKERS]

ACTIONS = LearnerContentAssignmentAction.objects.all()


def test_fault_04_what_was_allocated_without_a_broker_is_sent_once_it_is_back(celery: CeleryStack) -> None:
    budget, content = given_budget(), given_content()
    door = Door(key=given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer)))
    celery.redis.kill()

    first = door.allocate(budget, content, *addresses(10))
    assert (first.status_code, len(first.json()["created"])) == (202, 10)
    assert ACTIONS.filter(status=Status.PENDING, early__isnull=False).count() == 10
    assert not broker.BROKER.reachable
    celery.redis.start()
    again = door.allocate(budget, content, *addresses(10))
    assert (again.status_code, len(again.json()["no_change"])) == (202, 10)

    celery.worker()
    celery.beat()
    until_finished()
    assert ACTIONS.filter(action_type=ActionType.NOTIFIED, status=Status.DONE).count() == 10
    assert sorted(mail["To"] for mail in celery.mail.received) == sorted(addresses(10))
