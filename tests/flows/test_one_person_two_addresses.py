"""One person under two addresses, as the admin, the API, the mails and the pages show it."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role, User
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops import scheduler
from tests.api.door import Door
from tests.letters import link_in
from tests.smtp import MailServer
from tests.world import ALICE, BOB, PRICE, deliver, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

in_the_lms_or_not = pytest.mark.parametrize("lms_user_id", [7, None], ids=["in the LMS", "here only"])


@pytest.fixture
def budget() -> Budget:
    return given_budget(seats=5)


@pytest.fixture
def ada(budget: Budget) -> Door:
    """Return the API as an administrator of the organisation reaches it."""
    return Door(session=given_user(Role.ADMINISTRATOR, customer=budget.customer))


def credits(person: User, budget: Budget) -> list[str]:
    """Return the addresses of the open assignments that the learner's own list has."""
    asked = {"enterprise_customer_uuid": budget.customer.uuid}
    policies = Door(session=person).get("policy-redemption/credits_available/", **asked).json()
    rows = [one for policy in policies for one in policy["learner_content_assignments"]]
    return [one["learner_email"] for one in rows if one["state"] == State.ALLOCATED]


@in_the_lms_or_not
def test_he_changed_his_name(mail: MailServer, budget: Budget, ada: Door, lms_user_id: int | None) -> None:
    content = given_content()
    he = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=lms_user_id)
    assert len(ada.allocate(budget, content, ALICE).json()["created"]) == 1
    deliver(now=timezone.now())

    office = Client()
    office.force_login(given_user(is_staff=True, is_superuser=True))
    form = {"username": he.username, "email": BOB, "lms_user_id": lms_user_id or "", "is_active": "on"}
    form |= {"date_joined_0": "2026-01-01", "date_joined_1": "09:00:00"}
    assert office.post(reverse("admin:access_user_change", args=[he.pk]), form).status_code == 302
    he.refresh_from_db()
    assert he.email == BOB

    for address in (BOB, ALICE):
        again = ada.allocate(budget, content, address).json()
        assert (len(again["no_change"]), again["created"], again["updated"]) == (1, [], [])
    deliver(now=timezone.now())
    assert [one["To"] for one in mail.received] == [ALICE]
    assert credits(he, budget) == [ALICE]
    assert Client().get(link_in(mail.received[0])).status_code == 200
    budget.refresh_from_db()
    assert budget.reserved_cents == PRICE


@in_the_lms_or_not
def test_she_registered_under_another_address(
    mail: MailServer, budget: Budget, ada: Door, lms_user_id: int | None
) -> None:
    content = given_content()
    ada.allocate(budget, content, ALICE)
    ada.allocate(budget, given_content(), ALICE)
    deliver(now=timezone.now())
    she = given_user(Role.LEARNER, customer=budget.customer, email=BOB, lms_user_id=lms_user_id)
    ada.allocate(budget, content, BOB)  # not yet known as the same person
    deliver(now=timezone.now())
    assert [one["To"] for one in mail.received] == [ALICE, ALICE, BOB]
    assert credits(she, budget) == [BOB]

    browser = Client()
    browser.force_login(she)
    link = link_in(mail.received[0])
    assert f"{link}add-address/" in browser.get(link).content.decode()
    assert browser.post(f"{link}add-address/").status_code == 303
    assert sorted(credits(she, budget)) == [ALICE, ALICE, BOB]
    scheduler.run_due(clock=timezone.now, tasks=[one for one in scheduler.TASKS if one.name == "sweep"])

    assert credits(she, budget) == [ALICE, ALICE]
    given_up = LearnerContentAssignment.objects.get(learner_email=BOB)
    older = LearnerContentAssignment.objects.get(learner_email=ALICE, content=content)
    timeline = ada.timeline(given_up).json()["results"]
    [cancelled] = [one for one in timeline if one["action_type"] == "cancelled"]
    assert cancelled["detail"] == f"The learner has the same course by assignment {older.uuid}."
    deliver(now=timezone.now())
    assert len(mail.received) == 3
    budget.refresh_from_db()
    assert budget.reserved_cents == 2 * PRICE
    accepted = browser.post(reverse("accept", args=[older.uuid]))
    assert accepted.status_code in (302, 303)
    older.refresh_from_db()
    assert older.state == State.ACCEPTED
    again = ada.allocate(budget, content, ALICE, BOB).json()
    assert (again["created"], again["updated"]) == ([], [])
