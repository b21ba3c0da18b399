"""Two administrators send the same list: in turn, at once, and with the course instead of its run."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import declining
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Account, Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of
from tests.together import together
from tests.world import NOW, PRICE, addresses, deliver, given_budget, given_content

PEOPLE = sorted(addresses(12))


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


class Office:
    """An organisation with one budget, two administrators, and a course with a run."""

    def __init__(self) -> None:
        self.budget = given_budget(seats=len(PEOPLE))
        self.course = given_content()
        self.run = ContentMetadata.objects.get(content_key=self.course.advertised_run)
        self.doors = [door_of(Role.ADMINISTRATOR, customer=self.budget.customer) for _ in range(2)]

    def send(self, door: Door, content: ContentMetadata, people: Sequence[str] = PEOPLE) -> Any:
        """Preview a list, then send it; return the addresses by result, which the preview agreed with."""
        seen = door.can_allocate(self.budget, content, *people).json()
        assert seen["can_allocate"]
        done = self.send_unseen(door, content, people)
        assert len(done["created"]) * PRICE == seen["cost_cents"]
        return done

    def send_unseen(self, door: Door, content: ContentMetadata, people: Sequence[str] = PEOPLE) -> Any:
        answer = door.allocate(self.budget, content, *people)
        assert answer.status_code == 202, answer.json()
        results = ("created", "updated", "no_change")
        return {name: sorted(row["learner_email"] for row in answer.json()[name]) for name in results}

    def shows_one_seat_and_one_mail_each(self, outbox: Sequence[Any]) -> None:
        """Assert that each has one open assignment, one price reserved, and one mail."""
        deliver()
        rows = LearnerContentAssignment.objects.filter(state=State.ALLOCATED)
        assert sorted(rows.values_list("learner_email", flat=True)) == PEOPLE
        assert sorted(address for mail in outbox for address in mail.to) == PEOPLE
        notified = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
        assert notified.count() == len(PEOPLE)
        money = Budget.objects.get().reserved_cents, Account.objects.get().reserved_cents
        assert money == (len(PEOPLE) * PRICE,) * 2


NOTHING: dict[str, list[str]] = {"created": [], "updated": [], "no_change": PEOPLE}
EVERYTHING: dict[str, list[str]] = {"created": PEOPLE, "updated": [], "no_change": []}


@pytest.mark.django_db
@pytest.mark.parametrize("second", ["run", "course"])
def test_in_turn(mailoutbox: list[Any], second: str) -> None:
    office = Office()
    ada, ben = office.doors

    assert office.send(ada, office.run) == EVERYTHING
    deliver()
    assert office.send(ben, {"run": office.run, "course": office.course}[second]) == NOTHING

    office.shows_one_seat_and_one_mail_each(mailoutbox)


@pytest.mark.on_every_engine
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("second", ["run", "course"])
def test_at_once(mailoutbox: list[Any], second: str) -> None:
    office = Office()
    contents = [office.run, {"run": office.run, "course": office.course}[second]]
    calls = [
        partial(office.send_unseen, door, content)
        for door, content in zip(office.doors, contents, strict=True)
    ]

    answers = together(calls)

    assert sorted(answers, key=str) == sorted([EVERYTHING, NOTHING], key=str)
    office.shows_one_seat_and_one_mail_each(mailoutbox)


@pytest.mark.django_db
def test_after_a_learner_declined(mailoutbox: list[Any]) -> None:
    office = Office()
    ada, ben = office.doors
    office.send(ada, office.run)
    deliver()
    first, *others = PEOPLE
    declined = LearnerContentAssignment.objects.get(learner_email=first)
    declining.decline(declined, reason="No time.", now=NOW)

    assert office.send(ben, office.run) == NOTHING

    deliver()
    assert sorted(address for mail in mailoutbox for address in mail.to) == PEOPLE
    assert Budget.objects.get().reserved_cents == len(others) * PRICE
    declined.refresh_from_db()
    assert declined.state == State.CANCELLED
