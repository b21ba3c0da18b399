"""Learners with an account accept or decline on the assignment's page; administrators revoke links there."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import address_corrections, signed_links
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from tests import world
from tests.world import ALICE, BOB, action_of

pytestmark = pytest.mark.django_db

BUTTON = "Revoke e-mail links"


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    return world.given_assignment(now=timezone.now())


@pytest.fixture
def alice(client: Client, assignment: LearnerContentAssignment) -> Client:
    """The learner's browser."""
    user = world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=ALICE, username="alice")
    client.force_login(user)
    return client


@pytest.fixture
def ada(client: Client, assignment: LearnerContentAssignment) -> Client:
    """The administrator's browser."""
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))
    return client


def at(name: str, assignment: LearnerContentAssignment) -> str:
    return reverse(name, args=[assignment.uuid])


def state() -> str:
    return LearnerContentAssignment.objects.get().state


def test_the_page_is_the_one_behind_the_mails_link(
    alice: Client, assignment: LearnerContentAssignment
) -> None:
    html = alice.get(at("assignment", assignment)).content.decode()
    for expected in (
        "has assigned you this course and pays for it",
        "Accept",
        "Decline",
        "(Madrid time)",
    ):
        assert expected in html
    assert "$" not in html


def test_the_first_page_shows_a_learner_their_course_price_deadline_and_state_in_their_words(
    alice: Client, assignment: LearnerContentAssignment
) -> None:
    html = alice.get("/").content.decode()
    for expected in (
        "Tidal Engines",
        "$199.00",
        "(Madrid time)",
        '<span class="chip chip-info">Waiting for your answer</span>',
    ):
        assert expected in html
    for of_administrators in (ALICE, assignment.budget.name, "allocated", "Learner<", "Budget<"):
        assert of_administrators not in html


def test_the_first_page_shows_how_a_learners_assignments_ended(alice: Client) -> None:
    assignment = LearnerContentAssignment.objects.get()
    alice.post(at("decline-page", assignment))
    html = alice.get("/").content.decode()
    assert '<span class="chip chip-warning">Declined</span>' in html
    assert "(Madrid time)" not in html


def test_a_learner_declines_with_a_reason(alice: Client, assignment: LearnerContentAssignment) -> None:
    answer = alice.post(at("decline-page", assignment), {"reason": "No time."}, follow=True)
    assert answer.redirect_chain == [(at("assignment", assignment), 303)]
    assert "You declined this assignment." in answer.content.decode()
    fact = action_of(assignment, ActionType.DECLINED)
    assert (fact.detail, fact.actor and fact.actor.username) == ("No time.", "alice")


def test_what_cannot_be_declined_says_why(alice: Client, assignment: LearnerContentAssignment) -> None:
    cancel(assignment.budget, uuids=[assignment.uuid], now=timezone.now())
    answer = alice.post(at("decline-page", assignment), follow=True)
    assert "Your organisation cancelled this assignment." in answer.content.decode()


def test_an_assignment_of_another_learner_cannot_be_declined(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    assert ada.post(at("decline-page", assignment)).status_code == 404
    assert state() == State.ALLOCATED


def test_the_addresses_of_the_forms_lead_to_the_page(
    alice: Client, assignment: LearnerContentAssignment
) -> None:
    for name in ("decline-page", "accept"):
        assert alice.get(at(name, assignment)).headers["Location"] == at("assignment", assignment)
    assert state() == State.ALLOCATED


def test_an_administrator_with_an_assignment_sees_both_and_answers(
    client: Client, assignment: LearnerContentAssignment
) -> None:
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer, email=ALICE))
    html = client.get(at("assignment", assignment)).content.decode()
    assert "Timeline" in html
    assert "Accept" in html
    client.post(at("decline-page", assignment))
    assert state() == State.CANCELLED


def test_an_administrator_revokes_the_links_in_e_mails(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    token = signed_links.token_for(assignment, address=ALICE, now=timezone.now())
    assert BUTTON in ada.get(at("assignment", assignment)).content.decode()
    answer = ada.post(at("revoke-links", assignment), follow=True)
    assert "The links in e-mails sent so far no longer work." in answer.content.decode()
    assert "Later e-mails contain new ones" in answer.content.decode()
    assert ada.get(f"/a/{token}/").status_code == 410
    assert state() == State.ALLOCATED
    assert "Its e-mail links were revoked on " in action_of(assignment, ActionType.ALLOCATED).detail


def about_links(html: str) -> str:
    return html.partition("<dt>E-mail links</dt>")[2].partition("</dd>")[0]


def test_after_a_correction_the_page_has_both_addresses_and_why_links_ended(
    ada: Client, assignment: LearnerContentAssignment
) -> None:
    new = "alice.new@learners.example"
    address_corrections.correct_assignment(assignment, address=new, now=timezone.now())

    html = ada.get(at("assignment", assignment)).content.decode()
    assert f"From {ALICE} to {new}." in html
    assert "Those to the former address ended when it was corrected" in about_links(html)
    assert "Revoked" not in about_links(html)

    ada.post(at("revoke-links", assignment))
    html = ada.get(at("assignment", assignment)).content.decode()
    assert "Revoked " in about_links(html)
    assert "former address" not in html


def test_the_learner_does_not_read_a_former_address(
    client: Client, assignment: LearnerContentAssignment
) -> None:
    address_corrections.correct_assignment(assignment, address=BOB, now=timezone.now())
    customer = assignment.budget.customer
    client.force_login(world.given_user(Role.LEARNER, customer=customer, email=BOB))
    listed = client.get(
        "/api/v1/policy-redemption/credits_available/", {"enterprise_customer_uuid": str(customer.uuid)}
    )
    for shown in (client.get(at("assignment", assignment)), listed):
        assert (shown.status_code, ALICE in shown.content.decode()) == (200, False)


def test_revoking_links_takes_the_permission_to_cancel(
    client: Client, assignment: LearnerContentAssignment
) -> None:
    address = at("revoke-links", assignment)
    assert client.post(address).status_code == 302  # to sign in
    for user in (
        world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=ALICE),
        world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()),
    ):
        client.force_login(user)
        assert client.post(address).status_code == 404
        assert BUTTON not in client.get(at("assignment", assignment)).content.decode()
    assert LearnerContentAssignment.objects.get().links_revoked_at is None


def test_a_get_revokes_nothing(ada: Client, assignment: LearnerContentAssignment) -> None:
    assert BUTTON in ada.get(at("assignment", assignment)).content.decode()
    question = ada.get(at("revoke-links", assignment))
    assert "Revoke the links in e-mails sent so far?" in question.content.decode()
    assert LearnerContentAssignment.objects.get().links_revoked_at is None
