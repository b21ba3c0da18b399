"""What happens to a row between the end of a lease and the settling of a worker that outlived it."""

from datetime import timedelta

import pytest

from bursary.events.models import EventKind, EventSource, InboxEvent
from bursary.lib import leases
from tests.world import NOW

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture
def claimed() -> InboxEvent:
    """An event that was claimed at NOW for an hour."""
    InboxEvent.objects.create(
        source=EventSource.BUS,
        event_id="1",
        kind=EventKind.CONTENT_CHANGED,
        received_at=NOW,
        due_at=NOW,
        early=leases.NOT_BEFORE,
    )
    [row] = leases.claim(InboxEvent.objects.all(), now=NOW, lease=HOUR, limit=1)
    return row


@pytest.mark.parametrize("verb", ["schedule", "postpone", "postpone each to its own instant"])
def test_what_is_scheduled_after_the_end_of_a_lease_is_not_overwritten_by_its_late_worker(
    verb: str, claimed: InboxEvent
) -> None:
    rows, later = InboxEvent.objects.all(), NOW + 2 * HOUR
    if verb == "schedule":
        leases.schedule(rows, at=later, now=later)
    else:
        leases.postpone(rows, until=later if verb == "postpone" else {claimed.pk: later}, now=later)

    assert leases.settle([claimed], due_at=NOW + 9 * HOUR, now=later) == 0
    row = InboxEvent.objects.get()
    assert row.lease_until is None
    assert row.due_at is not None
    assert row.due_at <= later


def test_postponing_by_keys_leaves_the_other_rows_alone(claimed: InboxEvent) -> None:
    leases.settle([claimed], due_at=NOW + HOUR, now=NOW)

    assert leases.postpone(InboxEvent.objects.all(), until={claimed.pk + 1: NOW + 5 * HOUR}, now=NOW) == 0
    assert InboxEvent.objects.get().due_at == NOW + HOUR
