"""Addresses as administrators give them, and putting them right later."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from bursary.access.models import learner_key
from bursary.assignments import actions, address_corrections, matching, outcomes, redemption
from bursary.assignments.address_corrections import AddressTaken, AssignmentBeingRedeemed, AssignmentNotOpen
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, State, Status
from bursary.assignments.matching import BadAddresses, TooManyAddresses
from bursary.assignments.models import LearnerContentAssignment
from tests.together import together
from tests.world import (
    ALICE,
    BOB,
    NOW,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    "entry",
    [
        *("", "  ", "alice", "alice@", "@learners.example", "a b@learners.example", "a@b@c.example"),
        *("alice@learners.example\nBcc: all@learners.example", f"{'a' * 250}@learners.example", None, 7, []),
    ],
)
def test_what_is_no_address_is_named(entry: object) -> None:
    good, bad = matching.read_addresses(["bob@learners.example", entry])
    assert [one.position for one in good] == [0]
    assert list(bad) == [1]


def test_an_address_is_kept_as_it_is_mailed_and_compared_by_its_key() -> None:
    (one,) = matching.read_all_addresses([" Alice@Learners.Example\r\n"])
    assert one.address == ALICE
    assert one.learner_key == learner_key(ALICE)


@pytest.mark.on_every_engine
def test_correcting_before_anything_was_sent_redirects_what_waits() -> None:
    assignment = given_assignment(address="alcie@learners.example")
    address_corrections.correct_assignment(assignment, address=ALICE, now=LATER)
    pending = assignment.actions.filter(status=Status.PENDING)
    assert list(pending.values_list("action_type", "recipient")) == [(ActionType.NOTIFIED, ALICE)]


def test_correcting_finds_the_person_behind_the_new_address() -> None:
    given_user(email=ALICE, lms_user_id=7)
    assignment = given_assignment(address="alcie@learners.example")
    address_corrections.correct_assignment(assignment, address=ALICE, now=LATER)
    assert (assignment.lms_user_id, assignment.learner_key) == (7, learner_key(ALICE))


def test_correcting_twice_is_two_facts() -> None:
    assignment = given_assignment(address="alcie@learners.example")
    address_corrections.correct_assignment(assignment, address="aliec@learners.example", now=LATER)
    address_corrections.correct_assignment(assignment, address=ALICE, now=LATER)
    assert assignment.actions.filter(action_type=ActionType.EMAIL_CORRECTED).count() == 2


@pytest.mark.parametrize("by_person", [False, True], ids=["address", "person"])
@pytest.mark.on_every_engine
def test_the_address_of_a_learner_with_the_assignment_already_is_refused(by_person: bool) -> None:
    assignment = given_assignment()
    assert assignment.content
    allocate(assignment.budget, assignment.content, BOB)
    taken = BOB
    if by_person:
        given_user(email="bob@home.example", lms_user_id=7)
        LearnerContentAssignment.objects.filter(learner_email=BOB).update(lms_user_id=7)
        taken = "bob@home.example"
    with pytest.raises(AddressTaken):
        address_corrections.correct_assignment(assignment, address=taken, now=LATER)
    assert LearnerContentAssignment.objects.get(pk=assignment.pk).learner_email == ALICE


def test_a_bad_address_or_a_closed_assignment_is_refused_and_nothing_changes() -> None:
    assignment = given_assignment()
    with pytest.raises(BadAddresses):
        address_corrections.correct_assignment(assignment, address="nobody", now=LATER)
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    with pytest.raises(AssignmentNotOpen):
        address_corrections.correct_assignment(assignment, address=BOB, now=LATER)
    assert not assignment.actions.filter(action_type=ActionType.EMAIL_CORRECTED).exists()


def test_while_it_is_being_accepted_the_address_stays() -> None:
    assignment = given_assignment()
    redemption.begin(assignment, now=NOW)
    with pytest.raises(AssignmentBeingRedeemed, match="being accepted"):
        address_corrections.correct_assignment(assignment, address=BOB, now=LATER)
    deliver(now=LATER)
    stored = LearnerContentAssignment.objects.get()
    assert (stored.learner_email, stored.state) == (ALICE, State.ACCEPTED)


@pytest.mark.parametrize("lost", [True, False], ids=["postponed", "failed"])
def test_a_redemption_goes_to_no_address_and_says_how_it_went(lost: bool) -> None:
    assignment = given_assignment()
    begun = redemption.begin(assignment, now=NOW)
    (running,) = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=1, pks=[begun.pk])
    LearnerContentAssignment.objects.update(learner_email=BOB)
    failure = outcomes.Failure(ErrorReason.ENROLLMENT_ERROR, "ledger_refused", "The books are closed.", "")
    actions.finish(running, outcomes.Postponed(failure, LATER) if lost else outcomes.Failed(failure), now=NOW)
    begun.refresh_from_db()
    assignment.refresh_from_db()
    assert begun.status == (Status.PENDING if lost else Status.FAILED)
    assert bool(assignment.redeeming_since) == lost


def test_correcting_accepts_nothing_that_failed_to_be_accepted() -> None:
    assignment = given_assignment()
    begun = redemption.begin(assignment, now=NOW)
    (running,) = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=1, pks=[begun.pk])
    failure = outcomes.Failure(ErrorReason.ENROLLMENT_ERROR, "ledger_refused", "The books are closed.", "")
    actions.finish(running, outcomes.Failed(failure), now=NOW)
    address_corrections.correct_assignment(assignment, address=BOB, now=LATER)
    assert assignment.actions.get(action_type=ActionType.REDEEMED).status == Status.FAILED


@pytest.mark.parametrize("kind", [ActionType.LEARNER_LINKED, ActionType.NOTIFIED])
def test_what_was_done_for_the_old_address_is_done_for_the_new_one(kind: ActionType) -> None:
    assignment = given_assignment()
    deliver()
    address_corrections.correct_assignment(assignment, address=BOB, now=LATER)
    deliver(now=LATER)
    done = assignment.actions.filter(action_type=kind, status=Status.DONE)
    assert [row.recipient for row in done.timeline()] == [ALICE, BOB]


@pytest.mark.on_every_engine
def test_what_is_on_its_way_to_the_old_address_goes_to_the_new_one_as_well() -> None:
    assignment = given_assignment(address="alcie@learners.example")
    running = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=2)
    address_corrections.correct_assignment(assignment, address=ALICE, now=NOW)
    deliver()
    for action in running:
        actions.finish(action, outcomes.Done(), now=NOW)
    notified = assignment.actions.filter(action_type=ActionType.NOTIFIED, status=Status.DONE)
    assert {row.recipient for row in notified} == {"alcie@learners.example", ALICE}


@pytest.mark.parametrize("lost", [True, False], ids=["postponed", "failed"])
def test_what_does_not_reach_the_old_address_is_not_sent_there_again(lost: bool) -> None:
    assignment = given_assignment(address="alcie@learners.example")
    running = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=2)
    address_corrections.correct_assignment(assignment, address=ALICE, now=NOW)
    deliver()
    failure = outcomes.Failure(ErrorReason.EMAIL_ERROR, "address_rejected", "550", "")
    for action in running:
        actions.finish(
            action, outcomes.Postponed(failure, LATER) if lost else outcomes.Failed(failure), now=NOW
        )
    deliver(now=LATER)
    old = assignment.actions.filter(recipient="alcie@learners.example", action_type=ActionType.NOTIFIED)
    assert set(old.values_list("status", flat=True)) == {Status.SUPERSEDED}
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.WAITING


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_correcting_to_an_address_that_is_being_allocated_is_refused_or_comes_first() -> None:
    budget, content = given_budget(), given_content()
    for number in range(8):
        wrong, right = f"alcie-{number}@learners.example", f"alice-{number}@learners.example"
        allocate(budget, content, wrong)
        assignment = LearnerContentAssignment.objects.get(learner_email=wrong)
        calls: list[Callable[[], object]] = [
            partial(address_corrections.correct_assignment, assignment, address=right, now=LATER),
            partial(allocate, budget, content, right),
        ]
        corrected, allocated = together(calls)
        assert corrected is None or isinstance(corrected, AddressTaken)
        assert not isinstance(allocated, Exception)


def test_a_list_says_how_many_of_its_addresses_cannot_be_used_and_why_by_position_or_item() -> None:
    with pytest.raises(BadAddresses) as refused:
        matching.read_all_addresses([ALICE, 7, "nobody"])
    assert str(refused.value) == "2 of the addresses cannot be used."
    assert str(BadAddresses({1: "There is no address."})) == "1 of the addresses cannot be used."
    assert refused.value.errors == {1: "There is no address.", 2: "It has no @."}
    assert refused.value.by_item() == {1: ["There is no address."], 2: ["It has no @."]}
    of_one_item = BadAddresses(refused.value.errors, items=[5, 6, 6])
    assert of_one_item.by_item() == {6: ["There is no address.", "It has no @."]}


def test_a_list_that_is_too_long_says_how_long_it_is_and_may_be() -> None:
    with pytest.raises(TooManyAddresses) as refused:
        matching.read_addresses([ALICE] * 12_345)
    assert refused.value.count == 12_345
    assert str(refused.value) == ("12,345 addresses are more than the 10,000 that one request may carry.")
