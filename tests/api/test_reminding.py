"""Reminding and nudging over HTTP: what came of every assignment that was named, or that a filter found."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from pytest_django import DjangoDbBlocker

from bursary.access.models import Role
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door
from tests.once import made_once
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def of_three(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Budget]:
    """Make a budget with three assignments and notified learners, once for the module."""
    with made_once(django_db_blocker):
        budget = given_budget(seats=10)
        allocate(budget, given_content(), ALICE, BOB, CAROL, now=NOW - timedelta(days=1))
        deliver(now=NOW - timedelta(days=1))
        yield budget


@pytest.fixture
def budget(of_three: Budget) -> Budget:
    return Budget.objects.get(pk=of_three.pk)


@pytest.fixture
def content(budget: Budget) -> ContentMetadata:
    return ContentMetadata.objects.filter(assignments__budget=budget).distinct().get()


@pytest.fixture
def notified(budget: Budget) -> list[LearnerContentAssignment]:
    """Return the three."""
    return list(budget.assignments.order_by("pk"))


def test_reminding_sends_a_mail_and_says_what_came_of_each(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], mail: MailServer
) -> None:
    alice, bob, carol = notified
    LearnerContentAssignment.objects.filter(pk=carol.pk).update(state=State.ACCEPTED)

    answer = door.remind(budget, bob.uuid, alice.uuid, carol.uuid)

    assert answer.status_code == 200
    assert answer.json() == {
        "reminded": [str(bob.uuid), str(alice.uuid)],
        "no_change": [],
        "not_reminded": [
            {
                "reason": "not_remindable",
                "user_message": "This assignment is accepted.",
                "next_step": "Choose open assignments that are before their deadline, of a budget in use.",
                "assignment_uuid": str(carol.uuid),
            }
        ],
    }
    deliver()
    assert {sent["To"] for sent in mail.received} == {ALICE, BOB}
    recent = door.assignment(alice).json()["recent_action"]
    assert recent == {"action_type": "reminded", "timestamp": "2026-03-02T09:00:00Z"}


def test_asked_twice_a_learner_gets_one_mail(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment]
) -> None:
    alice = notified[0]
    door.remind(budget, alice.uuid)
    answer = door.remind(budget, alice.uuid)
    assert answer.json() == {"reminded": [], "no_change": [str(alice.uuid)], "not_reminded": []}
    assert alice.actions.filter(action_type=ActionType.REMINDED).count() == 1


def test_asked_again_within_minutes_of_the_mail_a_learner_gets_no_other(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], mail: MailServer
) -> None:
    alice = notified[0]
    door.remind(budget, alice.uuid)
    deliver()
    assert door.remind(budget, alice.uuid).json()["no_change"] == [str(alice.uuid)]
    assert len(mail.received) == 1


@pytest.mark.parametrize("verb", ["remind", "cancel"])
@pytest.mark.parametrize(("name", "text"), [("learner_emial", ALICE), ("page", "1"), ("learner_email", "")])
def test_a_filter_that_does_not_exist_or_is_empty_is_refused_and_acts_on_nothing(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], verb: str, name: str, text: str
) -> None:
    answer = door.to_all(budget, verb, **{name: text})
    assert answer.status_code == 400
    assert name in str(answer.json())
    assert not LearnerContentAssignment.objects.exclude(state=State.ALLOCATED).exists()
    assert not notified[0].actions.filter(action_type=ActionType.REMINDED).exists()


def test_the_reminding_administrator_is_on_the_timeline(
    budget: Budget, notified: list[LearnerContentAssignment]
) -> None:
    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    Door(session=ada).remind(budget, notified[0].uuid)
    assert action_of(notified[0], ActionType.REMINDED).actor == ada


@pytest.mark.parametrize("state", [State.ACCEPTED, State.CANCELLED, State.EXPIRED, State.REVERSED])
def test_where_none_can_be_reminded_the_answer_is_422_in_the_clients_shape(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], state: State
) -> None:
    LearnerContentAssignment.objects.update(state=state)
    answer = door.remind(budget, notified[0].uuid, uuid4())
    assert answer.status_code == 422
    assert [one["reason"] for one in answer.json()] == ["not_remindable", "unknown_assignment"]
    assert not notified[0].actions.filter(action_type=ActionType.REMINDED).exists()


def test_what_is_past_its_deadline_is_not_reminded_of_before_the_sweep_comes(
    door: Door, budget: Budget
) -> None:
    content = given_content(enroll_by=NOW)
    assignment = given_assignment(budget, content, now=NOW - timedelta(days=1))
    answer = door.remind(budget, assignment.uuid)
    assert answer.status_code == 422
    assert answer.json()[0]["user_message"] == "This assignment is past its deadline."


def test_all_waiting_learners_are_reminded_and_counted(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], content: ContentMetadata
) -> None:
    given_assignment(budget, given_content(), address=ALICE)  # not notified yet
    given_assignment(given_budget(), content)  # another budget's
    answer = door.to_all(budget, "remind")
    assert answer.status_code == 202
    assert answer.json() == {
        "reminded": 3,
        "no_change": 0,
        "not_reminded_count": 0,
        "not_reminded": [],
    }
    reminded = LearnerContentAssignment.objects.filter(actions__action_type=ActionType.REMINDED)
    assert set(reminded) == set(notified)


def test_only_learners_that_match_the_filter_are_reminded(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment]
) -> None:
    answer = door.to_all(budget, "remind", learner_state__in="waiting", search="bob")
    assert answer.json()["reminded"] == 1
    assert action_of(notified[1], ActionType.REMINDED).status == Status.PENDING


@pytest.mark.parametrize("verb", ["remind", "cancel"])
def test_a_filter_that_cannot_be_read_acts_on_nothing(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], verb: str
) -> None:
    answer = door.to_all(budget, verb, learner_state__in="sleeping")
    assert answer.status_code == 400
    assert not LearnerContentAssignment.objects.exclude(state=State.ALLOCATED).exists()
    assert not notified[0].actions.filter(action_type=ActionType.REMINDED).exists()


def test_what_has_started_or_has_no_start_is_not_nudged_and_the_sentence_says_so(
    door: Door, budget: Budget
) -> None:
    started, unknown = (
        given_assignment(budget, given_content(start_date=start)) for start in (NOW - timedelta(days=1), None)
    )
    answer = door.nudge(budget, started.uuid, unknown.uuid)
    assert [one["user_message"] for one in answer.json()] == [
        "Its course has already started.",
        "The start of its course is not known.",
    ]


def test_without_waiting_learners_the_counts_are_zero(door: Door, budget: Budget) -> None:
    answer = door.to_all(given_budget(customer=budget.customer), "remind")
    assert (answer.status_code, answer.json()["reminded"]) == (202, 0)


def test_nudging_names_those_that_do_not_start_soon(door: Door, budget: Budget) -> None:
    soon, far = (
        given_assignment(budget, given_content(start_date=NOW + timedelta(days=days))) for days in (5, 50)
    )
    answer = door.nudge(budget, soon.uuid, far.uuid, days_before_course_start_date=14)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["nudged"], body["no_change"]) == ([str(soon.uuid)], [])
    assert body["not_nudged"][0]["user_message"] == "This assignment is not starting soon."
    assert body["not_nudged"][0]["next_step"].endswith("of content that starts soon.")
    assert door.nudge(budget, soon.uuid).json()["no_change"] == [str(soon.uuid)]
    assert door.nudge(budget, far.uuid, days_before_course_start_date=0).status_code == 400


def test_cancelling_all_of_a_filter_frees_their_money_and_no_other(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment]
) -> None:
    alice, bob, carol = notified
    LearnerContentAssignment.objects.filter(pk=carol.pk).update(redeeming_since=NOW)
    reserved = Budget.objects.get().reserved_cents

    answer = door.to_all(budget, "cancel", search="bob")
    assert (answer.status_code, answer.json()["cancelled"]) == (202, 1)
    assert Budget.objects.get().reserved_cents == reserved - bob.price_cents

    body = door.to_all(budget, "cancel").json()
    assert (body["cancelled"], body["not_cancelled_count"]) == (1, 1)
    assert body["not_cancelled"][0]["assignment_uuid"] == str(carol.uuid)
    alice.refresh_from_db()
    assert alice.state == State.CANCELLED


def test_cancelling_all_goes_over_more_than_one_batch(
    door: Door, budget: Budget, notified: list[LearnerContentAssignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bursary.assignments.sweeps.BATCH", 2)
    assert door.to_all(budget, "cancel").json()["cancelled"] == 3
    assert Budget.objects.get().reserved_cents == 0
