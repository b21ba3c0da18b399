"""Fault 3 of the peer: courses that are gone were asked for at every read, one by one; their mails failed."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from bursary.replica import refresh
from bursary.replica.models import ContentMetadata
from tests.api.door import refusal_of
from tests.enterprise_catalog.server import CATALOG
from tests.faults.failing_upstream import MINUTE, Service
from tests.replica.expected_content import Course
from tests.replica.listing import Record
from tests.smtp import MailServer
from tests.world import ALICE, BOB, deliver

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
BATCH = 8
COURSES, ASSIGNED = 12, 4
"""More than one request asks for, and so many that the half of those assigned is not too much to be gone."""


@pytest.fixture
def holding(replicate: Callable[[list[Record]], Service]) -> Callable[[int], Service]:
    """Return how to have a service that holds so many courses."""

    def start(count: int) -> Service:
        service = replicate(
            [Course(f"RiversideX+T{number:03}", runs=["a"]).record() for number in range(count)]
        )
        list(service.passes(MINUTE))
        return service

    return start


def first_courses() -> list[ContentMetadata]:
    return list(ContentMetadata.objects.filter(parent_key="").order_by("content_key")[:ASSIGNED])


@pytest.mark.takes_long
def test_fault_03_courses_that_are_gone_cost_a_read_nothing_and_are_mailed(
    holding: Callable[[int], Service], mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "BATCH", BATCH)
    service = holding(COURSES)
    contents = first_courses()
    assert {service.allocate(one).status_code for one in contents} == {202}
    for one in contents[::2]:
        service.upstream.remove(one.content_key)
    list(service.passes(2 * DAY, every=DAY / 4))
    gone = set(ContentMetadata.objects.exclude(gone_at=None).filter(parent_key="").values_list("content_key"))
    assert gone == {(one.content_key,) for one in contents[::2]}

    for _time in range(3):
        service.read_everything(contents)  # which sees that nothing is asked upstream
        assert len(service.credits().json()[0]["learner_content_assignments"]) == ASSIGNED

    deliver(now=service.now)
    assert [message["To"] for message in mail.received] == [ALICE] * ASSIGNED


def test_fault_03_what_upstream_never_had_is_asked_for_once_and_remembered(
    holding: Callable[[int], Service],
) -> None:
    service = holding(1)
    unknown = ContentMetadata(content_key="NobodyX+N1", price_cents=19_900)
    before = len(service.upstream.requests)

    for _time in range(3):
        answer = service.allocate(unknown, to=BOB)
        assert refusal_of(answer) == (422, "content_not_in_catalog")

    assert [one.keys for one in service.upstream.requests[before:]] == [["NobodyX+N1"]]


def test_fault_03_what_is_gone_is_not_allocated_and_not_asked_for(
    holding: Callable[[int], Service],
) -> None:
    service = holding(3)
    [one, *_others] = first_courses()
    service.upstream.remove(one.content_key)
    list(service.passes(2 * DAY, every=DAY / 4))
    before = len(service.upstream.requests)

    answer = service.allocate(one, to=BOB)

    assert refusal_of(answer) == (422, "content_not_in_catalog")
    assert len(service.upstream.requests) == before
    assert one.content_key not in service.upstream.database.members(str(CATALOG))
