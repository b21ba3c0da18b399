"""Cancelling in the browser: asked about first, by permitted users, while the assignment is open."""

import pytest
from django.test import Client
from django.urls import reverse

from bursary.access.models import Role
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from tests import world
from tests.world import state_of

pytestmark = pytest.mark.django_db

BUTTON = "Cancel this assignment</button>"


def address_of(assignment: LearnerContentAssignment) -> str:
    return reverse("assignment", args=[assignment.uuid])


def question_about(assignment: LearnerContentAssignment) -> str:
    return reverse("cancel-assignment", args=[assignment.uuid])


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    return world.given_assignment(world.given_budget(seats=3))


@pytest.fixture
def ada(client: Client, assignment: LearnerContentAssignment) -> Client:
    """The administrator's browser."""
    administrator = world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer, username="ada")
    client.force_login(administrator)
    return client


def test_an_open_assignment_is_cancelled_and_the_page_says_so_once(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    world.deliver()
    assert question_about(assignment) in ada.get(address_of(assignment)).content.decode()
    question = ada.get(question_about(assignment)).content.decode()
    assert BUTTON in question
    assert "$199.00 is free again in Skills, at once." in question
    assert "The learner gets an e-mail that it was cancelled." in question
    assert state_of(assignment) == State.ALLOCATED

    answer = ada.post(question_about(assignment))

    assert answer.headers["Location"] == address_of(assignment)
    html = ada.get(address_of(assignment)).content.decode()
    assert "Cancelled: $199.00 is free again, and the learner gets an e-mail." in html
    assert "by <bdi>ada</bdi>" in html
    assert question_about(assignment) not in html
    assert "$199.00 is free again" not in ada.get(address_of(assignment)).content.decode()
    assert state_of(assignment) == State.CANCELLED
    assert ("cancellation_notified", "pending") in world.timeline(assignment)
    assignment.budget.refresh_from_db()
    assert assignment.budget.reserved_cents == 0


def test_no_email_is_promised_where_the_learner_was_never_notified(
    ada: Client, assignment: LearnerContentAssignment, mailoutbox: list[object]
) -> None:
    assert "No e-mail is sent: the learner had none" in ada.get(question_about(assignment)).content.decode()
    html = ada.post(question_about(assignment), follow=True).content.decode()

    assert "Cancelled: $199.00 is free again, and the learner had no e-mail about it yet." in html
    world.deliver()
    assert mailoutbox == []


def test_cancelling_twice_says_that_it_was_cancelled_before(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    ada.post(question_about(assignment))
    before = world.timeline(assignment)

    html = ada.post(question_about(assignment), follow=True).content.decode()

    assert "This assignment was cancelled before." in html
    assert world.timeline(assignment) == before


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"state": "accepted"}, "The learner has accepted it."),
        ({"redeeming_since": world.NOW}, "The learner is accepting it now."),
    ],
)
def test_what_is_not_open_has_no_button_and_is_not_cancelled(
    ada: Client, assignment: LearnerContentAssignment, columns: dict[str, object], why: str
) -> None:
    LearnerContentAssignment.objects.update(**columns)
    assert question_about(assignment) not in ada.get(address_of(assignment)).content.decode()
    question = ada.get(question_about(assignment)).content.decode()
    assert "only an open assignment can be cancelled" in question
    assert BUTTON not in question

    html = ada.post(question_about(assignment), follow=True).content.decode()

    assert f'<div class="alert alert-danger" role="status">{why}' in html
    assert state_of(assignment) != State.CANCELLED


def test_the_learner_cannot_cancel(client: Client, assignment: LearnerContentAssignment) -> None:
    client.force_login(world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=world.ALICE))
    assert question_about(assignment) not in client.get(address_of(assignment)).content.decode()

    assert client.get(question_about(assignment)).status_code == 404
    assert client.post(question_about(assignment)).status_code == 404
    assert state_of(assignment) == State.ALLOCATED


def test_another_organisations_administrator_cannot_cancel(
    client: Client, assignment: LearnerContentAssignment
) -> None:
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()))

    assert client.post(question_about(assignment)).status_code == 404
    assert state_of(assignment) == State.ALLOCATED


def test_cancelling_needs_a_session_and_a_form_of_this_site(
    client: Client, assignment: LearnerContentAssignment
) -> None:
    assert client.post(question_about(assignment)).headers["Location"].startswith("/sign-in/")
    elsewhere = Client(enforce_csrf_checks=True)
    elsewhere.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))
    assert elsewhere.post(question_about(assignment)).status_code == 403

    assert state_of(assignment) == State.ALLOCATED
