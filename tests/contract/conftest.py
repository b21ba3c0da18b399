"""One organisation for a module, and both clients of it. What a test writes is undone; time stands still."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from bursary.access.models import ExternalIdentity, Role, User
from bursary.assignments import cancellation, redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Account, Budget
from bursary.replica.models import ContentMetadata
from tests.contract.client import WebClient
from tests.issuer import AUDIENCE, FIRST, ISSUER, jwk_set
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    allocate,
    deliver,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

DAY = timedelta(days=1)


@dataclass
class World:
    """A budget of ten seats: Alice has one course open, one accepted, one cancelled; Bob's is refunded."""

    budget: Budget
    administrator: User
    alice: User
    course: ContentMetadata
    """Allocated to Alice, and to Carol, without an account."""
    accepted: LearnerContentAssignment
    refunded: LearnerContentAssignment
    cancelled: LearnerContentAssignment

    @property
    def customer_uuid(self) -> str:
        return str(self.budget.customer.uuid)

    @property
    def configuration(self) -> str:
        """The address of the budget as an assignment configuration."""
        return f"assignment-configurations/{self.budget.assignment_configuration_uuid}"


def _allocated(budget: Budget, title: str, *addresses: str, now: datetime) -> LearnerContentAssignment:
    content = given_content(f"RiversideX+{title}", title=title, partners=[{"name": "Riverside School"}])
    allocate(budget, content, *addresses, now=now)
    return LearnerContentAssignment.objects.get(content=content, learner_email=addresses[0])


def _accepted(assignment: LearnerContentAssignment, *, now: datetime) -> LearnerContentAssignment:
    redemption.begin(assignment, now=now)
    deliver(now=now)
    assignment.refresh_from_db()
    return assignment


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Return the world at NOW, made once for a module; what a test adds is undone."""
    until_the_end = transaction.atomic()
    until_the_end._from_testcase = True  # type: ignore[attr-defined]  # as Django's TestCase: others are outermost in it
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as until_then, until_the_end:
        until_then.setattr(timezone, "now", lambda: NOW)
        trusted = {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWT_JWK_SET": jwk_set(FIRST)}
        for name, value in trusted.items():
            until_then.setattr(settings, name, value)
        until_then.setattr(connection, "close", lambda: None)  # after each test, as Django would
        customer = given_customer(contact_email="ada@larkspur.example")
        account = Account.objects.create(customer=customer, name="Learning 2026")
        budget = given_budget(customer=customer, account=account, seats=10)
        administrator = given_user(Role.ADMINISTRATOR, customer=customer, lms_user_id=1)
        alice = given_user(Role.LEARNER, customer=customer, email=ALICE, lms_user_id=7)
        given_user(Role.LEARNER, customer=customer, email=BOB, lms_user_id=8)
        for user in (administrator, alice):
            ExternalIdentity.objects.create(user=user, issuer=ISSUER, username=user.username)
        accepted = _allocated(budget, "Anchors", ALICE, now=NOW - 3 * DAY)
        refunded = _allocated(budget, "Boats", BOB, now=NOW - 3 * DAY)
        _accepted(accepted, now=NOW - 2 * DAY)
        _accepted(refunded, now=NOW - DAY)
        redemption.reverse(refunded.transaction_uuid, now=NOW)  # type: ignore[arg-type]  # it was accepted
        cancelled = _allocated(budget, "Cranes", ALICE, now=NOW - 3 * DAY)
        cancellation.cancel(budget, uuids=[cancelled.uuid], now=NOW)
        opened = _allocated(budget, "Tides", ALICE, CAROL, now=NOW - DAY)
        deliver(now=NOW)
        assert opened.content is not None
        yield World(budget, administrator, alice, opened.content, accepted, refunded, cancelled)
        transaction.set_rollback(True)


@pytest.fixture(scope="module")
def admin(world: World) -> WebClient:
    """Return the administrators' client."""
    return WebClient(world.administrator, role=f"enterprise_admin:{world.customer_uuid}")


@pytest.fixture(scope="module")
def learner(world: World) -> WebClient:
    """Return the learners' client, with Alice in front of it."""
    return WebClient(world.alice, role=f"enterprise_learner:{world.customer_uuid}")
