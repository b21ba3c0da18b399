"""Fault 2 of the peer: catalog unreachable, and every door waited for ever; catalog 500, and so did they."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from pytest_django import Settings

from bursary.assignments import expiry
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import refusal_of
from tests.elapsed import AT_ONCE, taking_at_most
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import CATALOG
from tests.faults.failing_upstream import HURRIED, MINUTE, Service
from tests.replica.listing import COURSE, Record, recorded
from tests.world import BOB

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def service(replicate: Callable[[list[Record]], Service]) -> Service:
    """Return a service that holds eight courses, one of them assigned."""
    service = replicate(recorded("courses")[:8])
    list(service.passes(MINUTE))
    assert service.allocate(course()).status_code == 202
    service.now += DAY  # all of it is stale
    return service


def course() -> ContentMetadata:
    return ContentMetadata.objects.get(content_key=COURSE)


@pytest.mark.parametrize("fault", [faults.reset, faults.hang, faults.status(500), faults.status(503)])
def test_fault_02_with_the_catalog_away_every_door_answers(service: Service, fault: faults.Fault) -> None:
    service.upstream.fails_with(fault)
    service.source = service.asking(deadline=HURRIED)

    with taking_at_most(AT_ONCE):
        service.read_everything([course()])
        assert service.allocate(course(), to=BOB).status_code == 202
        swept = expiry.expire_due(now=service.now + 90 * DAY)

    assert swept.done == 2
    assert LearnerContentAssignment.objects.filter(state=State.EXPIRED).count() == 2


def test_fault_02_what_was_never_seen_is_refused_in_time_and_nothing_is_reserved(
    service: Service, settings: Settings
) -> None:
    settings.CONTENT_READ_DEADLINE = HURRIED
    reserved = Budget.objects.get().reserved_cents
    unseen = ContentMetadata(content_key="NobodyX+N1", price_cents=19_900)
    service.upstream.fails_with(faults.hang)
    service.source = service.asking(deadline=MINUTE)

    with taking_at_most(AT_ONCE):
        answer = service.allocate(unseen, to=BOB)

    assert refusal_of(answer) == (503, "catalog_unavailable")
    assert Budget.objects.get().reserved_cents == reserved


def test_fault_02_a_catalog_that_answers_with_nothing_changes_no_deadline(service: Service) -> None:
    before = LearnerContentAssignment.objects.get().expires_at
    for key in service.upstream.database.members(str(CATALOG)):
        service.upstream.remove(key)

    list(service.passes(2 * DAY, every=DAY / 4))

    service.read_everything([course()])
    assignment = LearnerContentAssignment.objects.get()
    assert (assignment.state, assignment.expires_at) == (State.ALLOCATED, before)
    assert course().gone_at is None
    assert service.allocate(course(), to=BOB).status_code == 202
