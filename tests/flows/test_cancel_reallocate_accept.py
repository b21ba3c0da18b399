"""An assignment is cancelled, allocated again, and accepted: two cycles on one timeline, paid for once."""

from datetime import timedelta

import pytest

from bursary.assignments import redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, LedgerEntry
from tests.smtp import MailServer
from tests.world import ALICE, NOW, PRICE, allocate, deliver, given_budget, given_content, timeline

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_cancel_reallocate_accept(mail: MailServer) -> None:
    budget, content = given_budget(seats=1), given_content()
    allocate(budget, content, ALICE)
    deliver()
    (assignment,) = LearnerContentAssignment.objects.all()

    cancel(budget, uuids=[assignment.uuid], now=NOW + DAY)
    deliver(now=NOW + DAY)
    assert Budget.objects.get().reserved_cents == 0

    allocate(budget, content, ALICE, now=NOW + 2 * DAY)
    deliver(now=NOW + 2 * DAY)
    assignment.refresh_from_db()
    assert (assignment.cycle, assignment.cancelled_at) == (2, None)
    assert assignment.expires_at == NOW + 92 * DAY

    redemption.begin(assignment, now=NOW + 3 * DAY)
    deliver(now=NOW + 3 * DAY)
    assignment.refresh_from_db()
    spent = LedgerEntry.objects.get()
    assert (assignment.state, assignment.transaction_uuid) == (State.ACCEPTED, spent.uuid)
    assert (Budget.objects.get().reserved_cents, Budget.objects.get().spent_cents) == (0, PRICE)

    assert timeline(assignment) == [
        ("allocated", "done"),
        ("learner_linked", "done"),
        ("notified", "done"),
        ("cancelled", "done"),
        ("cancellation_notified", "done"),
        ("allocated", "done"),
        ("learner_linked", "done"),
        ("notified", "done"),
        ("redeemed", "done"),
    ]
    assert [sent["Subject"].split("“")[0].strip() for sent in mail.received] == [
        "Larkspur Logistics has assigned you",
        "Larkspur Logistics has cancelled",
        "Larkspur Logistics has assigned you",
    ]
