"""Two administrators assign the same course, each from a budget of their own: the second one is warned."""

import pytest
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import declining, redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import door_of
from tests.dashboard.desk import Desk
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    allocate,
    deliver,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

pytestmark = pytest.mark.django_db

DAN = "dan@learners.example"


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def money(budget: Budget) -> tuple[int, int]:
    """Return the cents that are reserved and spent."""
    budget.refresh_from_db()
    return budget.reserved_cents, budget.spent_cents


def test_the_same_course_from_two_budgets(client: Client) -> None:
    organisation, stranger = given_customer(), given_customer()
    languages = given_budget(customer=organisation, name="Languages", seats=9)
    skills = given_budget(customer=organisation, name="Skills", seats=3)
    elsewhere = given_budget(customer=stranger, name="Secret")
    course = given_content(title="Tidal Engines")
    run = ContentMetadata.objects.get(content_key=course.advertised_run)
    # The first administrator assigns a run; another organisation assigns the course to the same people.
    allocate(elsewhere, course, ALICE, BOB, CAROL, DAN)
    allocate(languages, run, ALICE, BOB, CAROL)
    of = {one.learner_email: one for one in LearnerContentAssignment.objects.filter(budget=languages)}
    redemption.begin(of[BOB], now=NOW)
    deliver()
    declining.decline(of[CAROL], reason="No time.", now=NOW)

    # The second one previews the course for all of them: by the API, then on the page.
    door = door_of(Role.ADMINISTRATOR, customer=organisation)
    seen = door.can_allocate(skills, course, ALICE, BOB, CAROL, DAN)
    answer = seen.json()
    desk = Desk(client, skills, given_user(Role.ADMINISTRATOR, customer=organisation))
    page = desk.preview(course, "\n".join([ALICE, BOB, CAROL, DAN]))

    codes = [one["code"] for learner in answer["learners"] for one in learner["warnings"]]
    assert codes == ["open_elsewhere", "accepted_elsewhere", "declined_elsewhere", "beyond_available"]
    for learner in answer["learners"][:3]:
        [one] = learner["warnings"]
        assert one["assignment_uuid"] == str(of[learner["address"]].uuid)
        assert (one["content_key"], one["policy_uuid"]) == (run.content_key, str(languages.uuid))
        assert f"{one['user_message']}</bdi> {one['next_step']}" in page
    assert [one["reason"] for one in answer["refusals"]] == ["policy_spend_limit_reached"]
    for text in (seen.content.decode(), page):
        assert "Secret" not in text
        assert not any(str(one) in text for one in elsewhere.assignments.values_list("uuid", flat=True))

    # It is the administrator's decision: the preview has changed nothing, and the last learner is assigned.
    assert money(skills) == (0, 0)
    assert "is assigned to 1 learner" in desk.assign(course, DAN)
    assert (money(skills), money(languages)) == ((PRICE, 0), (PRICE, PRICE))
