"""Matching: which assignment each address of a request means, and what becomes of it."""

from datetime import timedelta
from typing import Any

import pytest

from bursary.assignments import allocation, matching
from bursary.assignments.choices import State
from bursary.assignments.matching import Match, Verdict, learners_of, match_learners
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    given_assignment,
    given_budget,
    given_content,
    given_run,
    given_user,
)

pytestmark = pytest.mark.django_db

OLD_ADDRESS = "alice@old.example"
CLOSED = [State.CANCELLED, State.EXPIRED, State.REVERSED]
IN_FORCE = [State.ALLOCATED, State.ACCEPTED]


@pytest.fixture
def budget() -> Budget:
    return given_budget()


@pytest.fixture
def content() -> ContentMetadata:
    return given_content()


def match(budget: Budget, content: ContentMetadata, *entries: str, **more: Any) -> list[Match]:
    return match_learners(
        budget,
        content_key=content.content_key,
        course_key=content.parent_key or content.content_key,
        learners=learners_of(matching.read_all_addresses(entries)),
        now=NOW,
        **more,
    )


def given(
    budget: Budget,
    content: ContentMetadata,
    address: str,
    state: State = State.ALLOCATED,
    *,
    lms_user_id: int | None = None,
) -> LearnerContentAssignment:
    """Return an assignment put into a state by hand."""
    assignment = given_assignment(budget, content, address=address)
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(state=state, lms_user_id=lms_user_id)
    assignment.refresh_from_db()
    return assignment


def test_a_first_assignment_is_new_and_has_the_id_of_the_account(
    budget: Budget, content: ContentMetadata
) -> None:
    given_user(email=ALICE, lms_user_id=7)
    alice, bob, carol = match(budget, content, ALICE, BOB, CAROL)
    assert (alice.verdict, alice.lms_user_id, alice.assignment) == (Verdict.NEW, 7, None)
    for one in (bob, carol):
        assert (one.verdict, one.lms_user_id, one.assignment) == (Verdict.NEW, None, None)
    assert [alice.addressee.address, bob.addressee.address] == [ALICE, BOB]
    assert (alice.known_by_other_address, alice.duplicate_of) == (False, None)


@pytest.mark.parametrize("state", State)
def test_what_is_open_or_accepted_is_unchanged_and_what_ended_is_allocated_again(
    budget: Budget, content: ContentMetadata, state: State
) -> None:
    existing = given(budget, content, ALICE, state)
    [one] = match(budget, content, ALICE)
    assert one.verdict == (Verdict.ALREADY_ASSIGNED if state in IN_FORCE else Verdict.REALLOCATED)
    assert (one.assignment, one.known_by_other_address) == (existing, False)


def test_assignments_of_other_budgets_content_and_learners_are_not_matched(
    budget: Budget, content: ContentMetadata
) -> None:
    given(given_budget(), content, ALICE)
    given(budget, given_content(), ALICE)
    given(budget, content, BOB)
    given(budget, content, CAROL, lms_user_id=8)
    given_user(email=ALICE, lms_user_id=7)
    [one] = match(budget, content, ALICE)
    assert (one.verdict, one.assignment) == (Verdict.NEW, None)


@pytest.mark.on_every_engine
def test_a_run_is_matched_that_was_allocated_before_its_course_was_known(
    budget: Budget, content: ContentMetadata
) -> None:
    run = ContentMetadata.objects.get(content_key=content.advertised_run)
    before = given(budget, run, ALICE)
    LearnerContentAssignment.objects.filter(pk=before.pk).update(parent_content_key="")

    [found] = match(budget, run, ALICE)

    assert (found.verdict, found.assignment) == (Verdict.ALREADY_ASSIGNED, before)


@pytest.mark.on_every_engine
def test_a_learner_is_found_by_the_id_of_the_account_under_another_address(
    budget: Budget, content: ContentMetadata
) -> None:
    existing = given(budget, content, OLD_ADDRESS, lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)
    [one] = match(budget, content, ALICE)
    assert (one.verdict, one.assignment, one.lms_user_id) == (Verdict.ALREADY_ASSIGNED, existing, 7)
    assert one.known_by_other_address


def test_a_placeholder_of_a_forgotten_learner_is_no_other_address(
    budget: Budget, content: ContentMetadata
) -> None:
    existing = given(budget, content, OLD_ADDRESS, State.CANCELLED, lms_user_id=7)
    LearnerContentAssignment.objects.update(forgotten_at=NOW)
    given_user(email=ALICE, lms_user_id=7)
    [one] = match(budget, content, ALICE)
    assert (one.assignment, one.known_by_other_address) == (existing, False)


@pytest.mark.parametrize(
    ("by_address", "by_id", "chosen"),
    [
        *((own, other, "by address") for own in IN_FORCE for other in (*IN_FORCE, *CLOSED)),
        *((own, other, "by id") for own in CLOSED for other in IN_FORCE),
        *((own, other, "by address") for own in CLOSED for other in CLOSED),
    ],
)
def test_of_two_assignments_the_open_or_accepted_one_counts_and_else_the_one_with_the_address(
    budget: Budget, content: ContentMetadata, by_address: State, by_id: State, chosen: str
) -> None:
    own = given(budget, content, ALICE, by_address)
    other = given(budget, content, OLD_ADDRESS, by_id, lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)
    [one] = match(budget, content, ALICE)
    assert one.assignment == (own if chosen == "by address" else other)
    assert one.lms_user_id is None  # the other assignment has it, and it is unique


@pytest.mark.on_every_engine
def test_of_an_address_with_two_ended_assignments_the_one_that_stayed_counts(
    budget: Budget, content: ContentMetadata
) -> None:
    second = given(budget, content, OLD_ADDRESS, State.EXPIRED)
    first = given(budget, content, ALICE, State.EXPIRED)
    same = {"mailbox_key": first.learner_key, "duplicate_pk": first.pk}
    LearnerContentAssignment.objects.filter(pk=second.pk).update(**same)

    [one] = match(budget, content, ALICE)

    assert (one.verdict, one.assignment) == (Verdict.REALLOCATED, first)


def test_of_two_open_assignments_of_other_runs_the_older_is_named(
    budget: Budget, content: ContentMetadata
) -> None:
    older = given(budget, given_run(content, "autumn"), ALICE)
    newer = given(budget, given_run(content, "spring"), BOB)
    newer.learner_key = newer.mailbox_key = older.learner_key
    newer.save()

    [one] = match(budget, content, ALICE)

    assert (one.verdict, one.assignment) == (Verdict.HAS_OTHER_RUN, older)


def test_an_accepted_run_under_another_address_is_named_before_an_open_one(
    budget: Budget, content: ContentMetadata
) -> None:
    given(budget, given_run(content, "autumn"), ALICE)
    accepted = given(budget, given_run(content, "spring"), OLD_ADDRESS, State.ACCEPTED, lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)

    [one] = match(budget, content, ALICE)

    assert (one.verdict, one.assignment) == (Verdict.ACCEPTED, accepted)


def test_one_assignment_found_both_ways_keeps_the_id(budget: Budget, content: ContentMetadata) -> None:
    existing = given(budget, content, ALICE, State.CANCELLED, lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)
    [one] = match(budget, content, ALICE)
    assert (one.verdict, one.assignment, one.lms_user_id) == (Verdict.REALLOCATED, existing, 7)


@pytest.mark.on_every_engine
def test_entries_of_one_learner_count_once_and_name_the_first(
    budget: Budget, content: ContentMetadata
) -> None:
    existing = given(budget, content, OLD_ADDRESS, lms_user_id=7)
    given_user(email=ALICE, lms_user_id=7)
    given_user(email=BOB, lms_user_id=8)
    entries = [CAROL, ALICE, CAROL.upper(), OLD_ADDRESS, BOB, BOB]
    found = match(budget, content, *entries)
    assert [one.verdict for one in found] == [
        Verdict.NEW,
        Verdict.ALREADY_ASSIGNED,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
        Verdict.NEW,
        Verdict.DUPLICATE,
    ]
    assert [one.duplicate_of for one in found] == [None, None, 0, 1, None, 4]
    assert [one.assignment for one in found] == [None, existing, None, None, None, None]
    assert [one.addressee.position for one in found] == list(range(6))
    assert found[5].lms_user_id == 8


@pytest.mark.on_every_engine
def test_a_learner_is_known_by_every_key_of_the_account_and_its_id(
    budget: Budget, content: ContentMetadata
) -> None:
    alice, bob = matching.read_all_addresses([ALICE, BOB])
    given_user(email=ALICE, lms_user_id=7)

    assert [one.known_by for one in match(budget, content, ALICE, BOB)] == [
        [alice.learner_key, 7],
        [bob.learner_key],
    ]


@pytest.mark.parametrize("size", [1, 2, 5000])
@pytest.mark.on_every_engine
def test_a_long_list_is_read_in_parts_and_each_is_found(
    budget: Budget, content: ContentMetadata, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "ROWS_PER_QUERY", size)
    existing = [given(budget, content, address) for address in (ALICE, BOB, CAROL)]
    moved = given(budget, content, OLD_ADDRESS, lms_user_id=9)
    given_user(email="dave@learners.example", lms_user_id=9)
    found = match(budget, content, ALICE, BOB, CAROL, "dave@learners.example")
    assert [one.assignment for one in found] == [*existing, moved]


@pytest.mark.on_every_engine
def test_an_assignment_takes_the_address_and_id_of_the_request(
    budget: Budget, content: ContentMetadata
) -> None:
    moved = given(budget, content, OLD_ADDRESS, State.CANCELLED, lms_user_id=7)
    known = given(budget, content, BOB, State.CANCELLED, lms_user_id=8)
    LearnerContentAssignment.objects.filter(pk=moved.pk).update(duplicate_pk=moved.pk)
    given_user(email=ALICE, lms_user_id=7)
    found = match(budget, content, CAROL, BOB.capitalize(), ALICE)
    allocation.assign_identity(found)
    moved.refresh_from_db()
    known.refresh_from_db()
    assert (moved.learner_email, moved.lms_user_id) == (ALICE, 7)
    assert moved.learner_key == moved.mailbox_key == found[2].addressee.learner_key
    assert moved.duplicate_pk == 0  # of the new address it is the first
    assert (known.learner_email, known.lms_user_id) == (found[1].addressee.address, 8)  # the id stays


def test_an_account_that_registered_since_gives_its_id(budget: Budget, content: ContentMetadata) -> None:
    existing = given(budget, content, ALICE, State.EXPIRED)
    given_user(email=ALICE, lms_user_id=7)
    allocation.assign_identity(match(budget, content, ALICE))
    existing.refresh_from_db()
    assert (existing.learner_email, existing.lms_user_id) == (ALICE, 7)


def test_what_stays_the_same_is_not_written(budget: Budget, content: ContentMetadata) -> None:
    existing = given(budget, content, ALICE, State.EXPIRED)
    found = match(budget, content, ALICE)
    LearnerContentAssignment.objects.update(lms_user_id=9, modified=NOW + timedelta(days=1))
    allocation.assign_identity(found)
    existing.refresh_from_db()
    assert existing.lms_user_id == 9
