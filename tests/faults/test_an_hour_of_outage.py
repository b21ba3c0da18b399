"""For an hour upstream answers 503, hangs, hangs up, talks rubbish, or sends 50 MB.

Readers of replicated content do not notice, no reader is kept waiting, upstream is not hammered, and when it
is back everything recovers without an operator.
"""

import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import override_settings

from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import LearnerContentAssignment
from bursary.lib.breaker import BreakerState
from bursary.ops.models import ScheduledTask
from bursary.replica import reads, schedule
from bursary.replica.models import CatalogListing, ContentMetadata
from tests.elapsed import AT_ONCE, taking_at_most
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import CATALOG
from tests.faults.failing_upstream import HURRIED, MINUTE, Service, check_that_all_is_as_upstream
from tests.replica.listing import COURSE, LATER, Record, enrolling_by, recorded

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

COURSES = 4
SOON = "2027-01-15T00:00:00+00:00"
MAX_REQUESTS = 80
"""In the hour: measured 21 to 54, as pauses are random. A question a minute for each of the four courses
would be 240, and three attempts each."""
RECOVERY = schedule.LONGEST_RETRY
SHORT = {
    "CONTENT_READ_DEADLINE": timedelta(seconds=0.2),
    "CONTENT_FETCH_DEADLINE": timedelta(seconds=0.5),
}
"""For the hour alone: what upstream answers when it is well may take its time on a busy machine."""


@pytest.fixture
def service(replicate: Callable[[list[Record]], Service]) -> Service:
    return replicate(recorded("courses")[:COURSES])


FAULTS = {"503": faults.status(503), "hanging": faults.hang, "50 MB": faults.huge}
"""An answer that fails, none in time, and one that says nothing of whether upstream works."""
if "BURSARY_TEST_SOAK" in os.environ:  # the client makes the same of them: tests/upstream/test_client.py
    FAULTS |= {"reset": faults.reset, "not HTTP": faults.garbage}
    FAULTS |= {"not JSON": faults.text(b"<html>We are back soon")}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_an_hour_of_outage_passes_unnoticed(service: Service, fault: faults.Fault) -> None:
    list(service.passes(MINUTE))
    contents = list(ContentMetadata.objects.filter(parent_key=""))
    course = ContentMetadata.objects.get(content_key=COURSE)
    assert len(contents) == COURSES
    assert service.allocate(course).status_code == 202
    service.now += timedelta(hours=25)  # all of it is stale, and a listing is due

    service.upstream.fails_with(fault)
    service.source = service.asking(deadline=HURRIED)
    changed = enrolling_by(SOON, synced=LATER)
    for terms in changed["normalized_metadata_by_run"].values():
        terms["enroll_by_date"] = SOON
    service.upstream.database.put(changed, catalogs=[str(CATALOG)])
    with override_settings(**SHORT):
        _let_an_hour_pass(service, contents)

    service.upstream.recovers()
    service.source = service.asking()
    list(service.passes(RECOVERY, every=30 * MINUTE))
    check_that_all_is_as_upstream(service.upstream)
    assignment = LearnerContentAssignment.objects.get()
    assert (assignment.expires_at.isoformat(), assignment.expires_reason) == (SOON, ExpiryReason.ENROLL_BY)
    assert service.breaker.state is BreakerState.CLOSED
    assert (
        ScheduledTask.objects.get(name="listing").last_error == CatalogListing.objects.get().last_error == ""
    )


def _let_an_hour_pass(service: Service, contents: list[ContentMetadata]) -> None:
    """Look at the clock again and again, and read and ask meanwhile. Nothing takes long."""
    deadline = (settings.CONTENT_FETCH_DEADLINE + HURRIED).total_seconds()
    asked_before = len(service.upstream.requests)
    hour = service.passes(60 * MINUTE, every=2 * MINUTE)
    for number in range(30):
        with taking_at_most(deadline + AT_ONCE):
            next(hour)
        if number % 15 == 0:
            with taking_at_most(AT_ONCE):
                service.read_everything(contents)
            _ask_for_unknown_content(service, f"NobodyX+N{number}")
    assert len(service.upstream.requests) - asked_before < MAX_REQUESTS


def _ask_for_unknown_content(service: Service, key: str) -> None:
    deadline = settings.CONTENT_READ_DEADLINE.total_seconds()
    with taking_at_most(deadline + AT_ONCE), pytest.raises(reads.ContentUnavailable):
        reads.content_for(key, catalog_uuid=CATALOG, now=service.now)
