"""Expiry: what is due, all of it, and nothing else."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access.models import Role
from bursary.assignments import expiry
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets import ledger, terms
from bursary.budgets.ledger import LedgerError
from bursary.budgets.models import Account, Budget
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    NOW,
    PRICE,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

OVER = NOW + timedelta(days=90)


def test_what_is_past_its_deadline_expires_and_frees_its_money(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    sweep = expiry.expire_due(now=OVER)
    assert (sweep.done, sweep.failed) == (1, {})
    assignment.refresh_from_db()
    assert (assignment.state, assignment.expired_at) == (State.EXPIRED, OVER)
    assert assignment.learner_state == LearnerState.EXPIRED
    assert Budget.objects.get().reserved_cents == Account.objects.get().reserved_cents == 0
    deliver(now=OVER)
    assert mail.received[-1]["Subject"].strip() == "The deadline for “Tidal Engines” has passed"
    assert timeline(assignment)[-2:] == [
        (ActionType.EXPIRED, Status.DONE),
        (ActionType.EXPIRATION_NOTIFIED, Status.DONE),
    ]


def test_nothing_expires_a_moment_early_nor_while_it_is_being_redeemed() -> None:
    assignment = given_assignment()
    assert expiry.expire_due(now=OVER - timedelta(microseconds=1)).done == 0
    LearnerContentAssignment.objects.update(redeeming_since=NOW)
    sweep = expiry.expire_due(now=OVER)
    assert (sweep.done, sweep.failed) == (0, {})
    assignment.refresh_from_db()
    assert assignment.state == State.ALLOCATED


def test_what_has_no_content_waits_for_its_administrators_notice_too() -> None:
    assignment = given_assignment(given_budget(starts_at=NOW - timedelta(days=1)))
    given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer)
    LearnerContentAssignment.objects.update(content=None)
    terms.change(assignment.budget, now=NOW, terms={"ends_at": NOW})
    after_the_grace = NOW + timedelta(days=2)
    assert expiry.expire_due(now=after_the_grace).done == 0
    assert AdministratorNotice.objects.update(notified_at=after_the_grace) == 1
    assert expiry.expire_due(now=after_the_grace).done == 1


def test_expiring_again_does_no_harm() -> None:
    given_assignment()
    expiry.expire_due(now=OVER)
    assert expiry.expire_due(now=OVER).done == 0
    assert Budget.objects.get().reserved_cents == 0


def test_a_budget_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, healthy, content = given_budget(), given_budget(), given_content()
    allocate(broken, content, *addresses(3), now=NOW - timedelta(days=1))
    allocate(healthy, content, *addresses(3))
    release = ledger.release

    def break_down(budget: Budget, *, cents: int) -> None:
        if budget.pk == broken.pk:
            raise LedgerError("The books do not agree.")
        release(budget, cents=cents)

    monkeypatch.setattr(ledger, "release", break_down)
    sweep = expiry.expire_due(now=OVER)
    assert sweep.done == 3
    assert sweep.failed == {str(broken.uuid): "LedgerError: The books do not agree."}
    assert set(broken.assignments.values_list("state", flat=True)) == {State.ALLOCATED}
    assert Budget.objects.get(pk=broken.pk).reserved_cents == 3 * PRICE


def test_a_sweep_takes_as_many_queries_for_many_as_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, content = given_budget(), given_content()
    counts = []
    for day, count in enumerate((2, 12)):
        allocate(budget, content, *addresses(count, start=100 * day), now=NOW + timedelta(days=day))
        with CaptureQueriesContext(connection) as queries:
            expiry.expire_due(now=OVER + timedelta(days=day))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_counting_says_why() -> None:
    given_assignment()
    given_assignment(content=given_content(enroll_by=NOW + timedelta(days=3)), address=ALICE)
    assert expiry.count_due(OVER) == {"NINETY_DAYS_PASSED": 1, "ENROLLMENT_DATE_PASSED": 1}
