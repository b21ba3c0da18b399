"""A learner is reminded twice, lets the deadline pass, dismisses the notice, and is forgotten."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops import scheduler
from tests.api.door import Door
from tests.smtp import MailServer
from tests.world import ALICE, NOW, allocate, deliver, given_budget, given_content, given_user, timeline

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what sets the day for every door, runs the scheduled tasks and delivers."""

    def be(now: datetime) -> None:
        monkeypatch.setattr(timezone, "now", lambda: now)
        for task in scheduler.TASKS:
            if task.name in {"expire", "remind", "privacy"}:
                task.run(lambda: now)
        deliver(now=now)

    return be


def test_remind_remind_expire_acknowledge_forget(mail: MailServer, today: Any) -> None:
    budget, content = given_budget(remind_days_after="7,30", remind_days_before=""), given_content()
    lena = given_user(Role.LEARNER, customer=budget.customer, email="", lms_user_id=7001)
    allocate(budget, content, ALICE)
    LearnerContentAssignment.objects.update(lms_user_id=lena.lms_user_id)
    deliver()
    for day in (7, 30, 90):
        today(NOW + day * DAY)

    door = Door(session=lena)
    who = {"enterprise_customer_uuid": budget.customer.uuid}
    (policy,) = door.get("policy-redemption/credits_available/", **who).json()
    (shown,) = policy["learner_content_assignments"]
    assert shown["state"] == State.EXPIRED
    configuration = f"assignment-configurations/{budget.assignment_configuration_uuid}"
    body = {"assignment_uuids": [shown["uuid"]]}
    assert door.post(f"{configuration}/acknowledge-assignments/", body).status_code == 201
    assert door.get("policy-redemption/credits_available/", **who).json() == []

    today(NOW + 91 * DAY)  # the notice was sent: the scheduler forgets
    assignment = LearnerContentAssignment.objects.get()
    assert [kind for kind, status in timeline(assignment) if status == "done"] == [
        "allocated",
        "learner_linked",
        "notified",
        "reminded",
        "reminded",
        "expired",
        "expiration_notified",
        "expired_acknowledged",
    ]
    assert [sent["To"] for sent in mail.received] == [ALICE] * 4
    assert Budget.objects.get().reserved_cents == 0
    assert traces_of(ALICE) == []


def traces_of(address: str) -> list[str]:
    """Return the tables in which the address still stands."""
    with connection.cursor() as cursor:
        found = []
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            if address in str(cursor.fetchall()):
                found.append(table)
    return found
