"""Alice declines by the link in her mail; the only seat goes to Bob, and he accepts by the link in his."""

import html
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.delivery import runner
from bursary.replica.models import ContentMetadata
from tests.letters import link_in, text_of
from tests.smtp import MailServer
from tests.world import ALICE, BOB, PRICE, action_of, allocate, given_budget, given_content, timeline

pytestmark = pytest.mark.django_db

ENROL = "https://learn.example.org/enrol"


def test_decline_and_give_the_seat_to_another(mail: MailServer) -> None:
    budget = given_budget(seats=1)
    content = given_content(links={"enrollment_url": ENROL})
    alices = assigned(budget, content, ALICE)
    with pytest.raises(AllocationRefused):
        assigned(budget, content, BOB)

    alice_declines(alices, link_in(mail.received[0]))
    assert the_money(budget) == (0, 0)

    bobs = assigned(budget, content, BOB)
    assert the_money(budget) == (PRICE, 0)
    bob_accepts_it(bobs, link_in(mail.received[1]))
    assert the_money(budget) == (0, PRICE)

    # Each had one mail, and no learner is notified of their own answer.
    runner.drain(clock=timezone.now, limit=100)
    assert [message["To"] for message in mail.received] == [ALICE, BOB]
    assert "Accept or decline the course" in text_of(mail.received[1])


def assigned(budget: Budget, content: ContentMetadata, address: str) -> LearnerContentAssignment:
    """Allocate, and deliver the mail."""
    allocate(budget, content, address, now=timezone.now())
    runner.drain(clock=timezone.now, limit=100)
    return LearnerContentAssignment.objects.get(learner_email=address)


def the_money(budget: Budget) -> tuple[int, int]:
    budget.refresh_from_db()
    return budget.reserved_cents, budget.spent_cents


def alice_declines(assignment: LearnerContentAssignment, link: str) -> None:
    browser = Client()
    assert "Tidal Engines" in seen(browser.get(link))
    answer = browser.post(link, {"answer": "decline", "reason": "I know it already."}, follow=True)
    assert "You have declined the course." in seen(answer)
    assignment.refresh_from_db()
    assert (assignment.state, assignment.decline_reason) == (State.CANCELLED, "I know it already.")
    assert timeline(assignment) == [
        (ActionType.ALLOCATED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
        (ActionType.NOTIFIED, Status.DONE),
        (ActionType.DECLINED, Status.DONE),
    ]
    assert action_of(assignment, ActionType.DECLINED).detail == "I know it already."


def bob_accepts_it(assignment: LearnerContentAssignment, link: str) -> None:
    browser = Client()
    answer = browser.post(link, {"answer": "accept"})
    assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assignment.refresh_from_db()
    assert assignment.state == State.ACCEPTED
    assert f'href="{ENROL}"' in seen(browser.get(link))


def seen(answer: Any) -> str:
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())
