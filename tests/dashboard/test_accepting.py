"""A learner with an account accepts an assignment in the browser."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import signed_links
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import LedgerEntry
from tests import world

pytestmark = pytest.mark.django_db

BUTTON = ">Accept</button>"


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    content = world.given_content(links={"enrollment_url": "https://learn.example.org/enrol"})
    return world.given_assignment(content=content, now=timezone.now())


@pytest.fixture
def alice(client: Client, assignment: LearnerContentAssignment) -> Client:
    """The learner's browser."""
    client.force_login(world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=world.ALICE))
    return client


def page_of(assignment: LearnerContentAssignment) -> str:
    return reverse("assignment", args=[assignment.uuid])


def accept(browser: Client, assignment: LearnerContentAssignment) -> str:
    answer = browser.post(reverse("accept", args=[assignment.uuid]), follow=True)
    return answer.content.decode()


def led_to(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.headers["Location"]


def test_accepting_is_confirmed_with_the_way_to_the_course(
    alice: Client, assignment: LearnerContentAssignment
) -> None:
    assert BUTTON in alice.get(page_of(assignment)).content.decode()
    answer = alice.post(reverse("accept", args=[assignment.uuid]))
    assert led_to(answer) == (303, page_of(assignment))
    html = alice.get(page_of(assignment)).content.decode()
    assert "You have accepted this course." in html
    assert 'href="https://learn.example.org/enrol"' in html
    assert BUTTON not in html
    assignment.refresh_from_db()
    assert assignment.state == State.ACCEPTED
    assert LedgerEntry.objects.count() == 1


def test_a_cancelled_assignment_cannot_be_accepted(
    alice: Client, assignment: LearnerContentAssignment
) -> None:
    cancel(assignment.budget, uuids=[assignment.uuid], now=timezone.now())
    assert "Your organisation cancelled this assignment." in accept(alice, assignment)
    assert not LedgerEntry.objects.exists()


def test_a_passed_deadline_is_honoured_before_the_sweep(
    alice: Client, assignment: LearnerContentAssignment
) -> None:
    LearnerContentAssignment.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert BUTTON not in alice.get(page_of(assignment)).content.decode()
    assert "The deadline for accepting this assignment has passed." in accept(alice, assignment)


@pytest.mark.parametrize(
    ("answer", "more"),
    [("accept", ""), ("decline", " You need not do anything: it cannot be accepted any more.")],
)
@pytest.mark.parametrize("by_link", [True, False])
def test_an_answer_after_the_deadline_says_once_that_it_has_passed(
    alice: Client, assignment: LearnerContentAssignment, answer: str, more: str, by_link: bool
) -> None:
    LearnerContentAssignment.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    address = reverse({"accept": "accept", "decline": "decline-page"}[answer], args=[assignment.uuid])
    if by_link:
        address = f"/a/{signed_links.token_for(assignment, address=world.ALICE, now=timezone.now())}/"

    html = alice.post(address, {"answer": answer}, follow=True).content.decode()

    assert html.count("The deadline for accepting this assignment has passed.") == 1
    assert html.count("To take it after all, ask your organisation to assign it again.") == 1
    assert f"Your answer changed nothing: the reason is below.{more}</div>" in html


def test_an_assignment_of_another_learner_cannot_be_accepted(
    client: Client, assignment: LearnerContentAssignment
) -> None:
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))
    assert BUTTON not in client.get(page_of(assignment)).content.decode()
    assert client.post(reverse("accept", args=[assignment.uuid])).status_code == 404
    assert not LedgerEntry.objects.exists()


def test_a_get_redirects_to_the_page(alice: Client, assignment: LearnerContentAssignment) -> None:
    answer = alice.get(reverse("accept", args=[assignment.uuid]))
    assert (answer.status_code, answer["Location"]) == (302, page_of(assignment))
