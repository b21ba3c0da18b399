"""Allocating over HTTP: the dates as they were meant, and the ids that are not shown."""

from datetime import UTC, datetime

import pytest

from bursary.access.models import LearnerLink, Role, RoleGrant
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door
from tests.world import ALICE, BOB, given_customer, given_user

pytestmark = pytest.mark.django_db


def test_a_due_date_without_a_time_is_the_end_of_that_day_and_the_answer_says_so(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    meant = {"due_date": "2026-03-20T23:59:59+01:00"}

    seen = door.can_allocate(budget, content, ALICE, due_date="2026-03-20").json()
    done = door.allocate(budget, content, ALICE, due_date="2026-03-20").json()

    assert (seen["understood"], done["understood"]) == (meant, meant)
    assert LearnerContentAssignment.objects.get().due_date == datetime(2026, 3, 20, 22, 59, 59, tzinfo=UTC)


def test_a_due_date_without_a_zone_is_the_organisations(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    done = door.allocate(budget, content, ALICE, due_date="2026-06-20T12:00").json()

    assert done["understood"] == {"due_date": "2026-06-20T12:00:00+02:00"}


def test_a_due_date_that_cannot_be_read_is_answered_with_the_formats(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    answer = door.allocate(budget, content, ALICE, due_date="20.3.2026")

    assert answer.status_code == 400
    [problem] = answer.json()["due_date"]
    assert "2027-06-30T17:00+02:00" in problem
    assert "Europe/Madrid" in problem


def credits_of(door: Door, budget: Budget, lms_user_id: int) -> list[object]:
    """Return the budgets with assignments of that learner."""
    path = "policy-redemption/credits_available/"
    answer = door.get(path, enterprise_customer_uuid=budget.customer.uuid, lms_user_id=lms_user_id)
    return list(answer.json())


def test_the_id_of_a_person_of_another_organisation_is_not_shown(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given_user(Role.LEARNER, customer=given_customer(), email=ALICE, lms_user_id=7)
    given_user(Role.LEARNER, customer=budget.customer, email=BOB, lms_user_id=8)
    door.allocate(budget, content, ALICE, BOB)
    # Linking made her the organisation's, too, until she left.
    RoleGrant.objects.filter(user__lms_user_id=7, customer=budget.customer).delete()
    LearnerLink.objects.filter(learner_email=ALICE).delete()

    listed = door.assignments(budget).json()["results"]
    assert {row["learner_email"]: row["lms_user_id"] for row in listed} == {ALICE: None, BOB: 8}
    found = [door.assignments(budget, lms_user_id=number).json()["count"] for number in (7, 8)]
    assert found == [0, 1]
    read = {one.learner_email: one for one in LearnerContentAssignment.objects.all()}
    assert {address: one.lms_user_id for address, one in read.items()} == {ALICE: 7, BOB: 8}
    for address, shown in ((ALICE, None), (BOB, 8)):
        answer = door.assignment(read[address]).json()
        assert answer["lms_user_id"] == shown
    assert [len(credits_of(door, budget, number)) for number in (7, 8)] == [0, 1]


def test_the_id_of_a_learner_is_shown_once_they_are_the_organisations(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given_user(email=ALICE, lms_user_id=7)

    created = door.allocate(budget, content, ALICE).json()["created"]

    assert [row["lms_user_id"] for row in created] == [7]
    assert [row["lms_user_id"] for row in door.assignments(budget).json()["results"]] == [7]
    assert len(credits_of(door, budget, 7)) == 1
