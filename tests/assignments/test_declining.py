"""Declining: the learner says no, and the money is free at once."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from bursary.assignments import matching, redemption
from bursary.assignments.acknowledgement import acknowledge, acknowledged
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.declining import LONGEST_REASON, DeclineRefused, decline
from bursary.assignments.matching import Overrides
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.redemption import RedemptionRefused
from bursary.budgets.models import Account, Budget, LedgerEntry
from bursary.delivery import runner
from tests.smtp import MailServer
from tests.together import together
from tests.world import (
    ALICE,
    NOW,
    PRICE,
    action_of,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)


def refusal_of(assignment: LearnerContentAssignment, reason: str = "", **at: object) -> DeclineRefused:
    before = timeline(assignment)
    with pytest.raises(DeclineRefused) as refused:
        decline(assignment, reason=reason, now=at.get("now", LATER))  # type: ignore[arg-type]  # it is one
    assert refused.value.next_step
    assert str(refused.value) == refused.value.sentence
    assert timeline(assignment) == before
    return refused.value


@pytest.mark.on_every_engine
def test_the_money_is_free_at_once_and_the_reason_is_kept() -> None:
    alice = given_user()
    assignment = given_assignment()
    assert decline(assignment, reason="  Too far\r\naway. ", now=LATER, actor=alice)
    assert Budget.objects.get().reserved_cents == Account.objects.get().reserved_cents == 0
    stored = LearnerContentAssignment.objects.get()
    assert (stored.state, stored.cancelled_at, stored.learner_state) == (
        State.CANCELLED,
        LATER,
        LearnerState.DECLINED,
    )
    assert stored.decline_reason == "Too far\naway."
    fact = action_of(assignment, ActionType.DECLINED)
    assert (fact.status, fact.actor, fact.detail) == (Status.DONE, alice, "Too far\naway.")


def test_what_waited_to_be_sent_is_not_sent_nor_a_notice_of_what_the_learner_knows(
    mail: MailServer,
) -> None:
    assignment = given_assignment()
    decline(assignment, reason="", now=LATER)
    deliver(now=LATER)
    assert mail.received == []
    assert timeline(assignment) == [
        (ActionType.ALLOCATED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
        (ActionType.NOTIFIED, Status.SUPERSEDED),
        (ActionType.DECLINED, Status.DONE),
    ]


def test_declining_again_does_no_harm_and_says_so() -> None:
    assignment = given_assignment()
    assert decline(assignment, reason="No time.", now=NOW) is True
    assert decline(assignment, reason="Really no time.", now=LATER) is False
    stored = LearnerContentAssignment.objects.get()
    assert (stored.decline_reason, stored.cancelled_at) == ("No time.", NOW)
    assert assignment.actions.filter(action_type=ActionType.DECLINED).count() == 1


def test_what_the_organisation_took_back_cannot_be_declined() -> None:
    assignment = given_assignment()
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    refused = refusal_of(assignment)
    assert refused.reason == "reason_learner_assignment_cancelled"
    assert refused.sentence == "Your organisation cancelled this assignment."
    assert refused.next_step == "You need not do anything: it cannot be accepted any more."


def test_a_passed_deadline_counts_before_the_sweep_comes() -> None:
    assignment = given_assignment()
    refused = refusal_of(assignment, now=assignment.expires_at)
    assert refused.reason == "reason_learner_assignment_expired"
    assert Budget.objects.get().reserved_cents == PRICE


def test_what_is_being_accepted_or_was_cannot_be_declined() -> None:
    assignment = given_assignment()
    action = redemption.begin(assignment, now=NOW)
    assert refusal_of(assignment) == DeclineRefused(
        "reason_learner_assignment_being_redeemed",
        "This course is being accepted at this moment.",
        "Try again in a minute.",
    )
    runner.drain(clock=lambda: NOW, limit=1, pks=[action.pk])
    assert refusal_of(assignment) == DeclineRefused(
        "reason_learner_assignment_accepted",
        "You have already accepted this course.",
        "To leave it, ask your organisation.",
    )
    redemption.reverse(LedgerEntry.objects.get().uuid, now=NOW)
    assert refusal_of(assignment).reason == "reason_learner_assignment_reversed"


def test_a_reason_is_bounded_and_readable() -> None:
    assignment = given_assignment()
    assert refusal_of(assignment, "x" * (LONGEST_REASON + 1)) == DeclineRefused(
        "decline_reason_too_long",
        "The reason has 1001 characters; 1000 are allowed.",
        "Shorten the reason, or leave it out.",
    )
    for unreadable in ("no\0thing", "half a \ud83d"):
        assert refusal_of(assignment, unreadable) == DeclineRefused(
            "decline_reason_unreadable",
            "The reason contains characters that cannot be displayed.",
            "Write it again, or decline without a reason.",
        )
    owls = "\N{OWL}" * LONGEST_REASON
    assert decline(assignment, reason=f" {owls}\r\n", now=LATER)
    assert LearnerContentAssignment.objects.get().decline_reason == owls


def test_what_was_declined_cannot_be_accepted_and_is_said_to_be_declined() -> None:
    assignment = given_assignment()
    decline(assignment, reason="", now=NOW)
    with pytest.raises(RedemptionRefused) as refused:
        redemption.begin(assignment, now=LATER)
    assert refused.value.reason == "reason_learner_assignment_cancelled"
    assert refused.value.sentence == "You declined this assignment."


def test_what_was_declined_can_be_assigned_again_on_request_and_then_it_is_another_question() -> None:
    assignment = given_assignment()
    decline(assignment, reason="Not now.", now=NOW)
    assert assignment.content is not None
    again = Overrides(reallocate_declined=True)
    allocate(assignment.budget, assignment.content, ALICE, now=LATER, overrides=again)
    stored = LearnerContentAssignment.objects.get()
    assert (stored.state, stored.cycle, stored.decline_reason) == (State.ALLOCATED, 2, "")
    assert redemption.refusal(stored, now=LATER) is None
    cancel(stored.budget, uuids=[stored.uuid], now=LATER)
    assert matching.which_declined([LearnerContentAssignment.objects.get()]) == set()


def test_a_learner_that_declined_has_nothing_to_acknowledge() -> None:
    assignment = given_assignment()
    decline(assignment, reason="", now=NOW)
    mine = LearnerContentAssignment.objects.all()
    assert mine.filter(acknowledged()).get() == assignment
    outcome = acknowledge(mine, uuids=[assignment.uuid], now=LATER)
    assert (outcome.acknowledged, outcome.already, outcome.refused) == ([], [assignment], [])


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_of_declining_and_taking_up_at_the_same_moment_exactly_one_wins() -> None:
    pairs = 30
    budget, content = given_budget(), given_content()
    allocate(budget, content, *addresses(pairs))
    for assignment in LearnerContentAssignment.objects.all():
        calls: list[Callable[[], object]] = [
            partial(_take_up, assignment),
            partial(decline, assignment, reason="", now=NOW),
            partial(decline, assignment, reason="", now=NOW),
        ]
        taken_up, *declined = together(calls)
        assert (taken_up == 1) is not (True in declined), (taken_up, declined)

    everything = LearnerContentAssignment.objects.all()
    accepted = everything.filter(state=State.ACCEPTED).count()
    assert accepted + everything.filter(state=State.CANCELLED).count() == pairs
    assert (Budget.objects.get().reserved_cents, Budget.objects.get().spent_cents) == (0, accepted * PRICE)


def _take_up(assignment: LearnerContentAssignment) -> int:
    action = redemption.begin(assignment, now=NOW)
    return runner.drain(clock=lambda: NOW, limit=1, pks=[action.pk])
