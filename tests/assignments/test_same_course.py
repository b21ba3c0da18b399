"""One course, one price: a learner with the course, or a run of it, is not allocated another unasked."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access.models import AccountAddress, learner_key
from bursary.assignments import allocation, redemption
from bursary.assignments.choices import State
from bursary.assignments.declining import decline
from bursary.assignments.matching import Match, Overrides, Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Account, Budget, Customer
from bursary.replica.models import ContentMetadata
from tests.together import together
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    addresses,
    allocate,
    given_assignment,
    given_budget,
    given_content,
    given_run,
    given_user,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
OLD_ADDRESS = "alice@old.example"
ANOTHER = Overrides(allow_another=True)


@pytest.fixture
def budget() -> Budget:
    return given_budget(seats=100)


@pytest.fixture
def course() -> ContentMetadata:
    course = given_content("RiversideX+TIDE", with_run=False)
    given_run(course, "course-v1:RiversideX+TIDE+spring")
    return course


@pytest.fixture
def spring(course: ContentMetadata) -> ContentMetadata:
    return ContentMetadata.objects.get(content_key="course-v1:RiversideX+TIDE+spring")


@pytest.fixture
def autumn(course: ContentMetadata, spring: ContentMetadata) -> ContentMetadata:
    return given_run(course, "course-v1:RiversideX+TIDE+autumn")


def outcomes(budget: Budget, content: ContentMetadata, *entries: str, **more: Any) -> list[Match]:
    """Allocate; return the outcomes, which a preview just before agreed with, at the cost it named."""
    budget.refresh_from_db()
    before = budget.reserved_cents
    asked = {"content_key": content.content_key, "price_cents": PRICE, "entries": list(entries), "now": NOW}
    seen = allocation.preview(budget, **{**asked, **more})
    done = allocate(budget, content, *entries, **more)
    assert [(one.verdict, one.duplicate_of) for one in seen.matches] == [
        (one.verdict, one.duplicate_of) for one in done.matches
    ]
    budget.refresh_from_db()
    assert budget.reserved_cents - before == seen.cost_cents
    return done.matches


def accept(assignment: LearnerContentAssignment) -> None:
    redemption.fulfil(redemption.begin(assignment, now=NOW), now=NOW)
    assignment.refresh_from_db()


def test_a_course_is_not_allocated_to_a_learner_with_an_open_run_of_it(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    existing = given_assignment(budget, spring, address=ALICE)
    alice, bob = outcomes(budget, course, ALICE, BOB)
    assert (alice.verdict, alice.assignment) == (Verdict.HAS_OTHER_RUN, existing)
    assert bob.verdict is Verdict.NEW
    assert LearnerContentAssignment.objects.filter(learner_email=ALICE).get() == existing


def test_a_run_is_not_allocated_to_a_learner_with_its_course_open(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    existing = given_assignment(budget, course, address=ALICE)
    [alice] = outcomes(budget, spring, ALICE)
    assert (alice.verdict, alice.assignment) == (Verdict.HAS_COURSE, existing)
    assert LearnerContentAssignment.objects.get() == existing


def test_a_run_is_not_allocated_to_a_learner_with_another_run_open(
    budget: Budget, spring: ContentMetadata, autumn: ContentMetadata
) -> None:
    existing = given_assignment(budget, spring, address=ALICE)
    [alice] = outcomes(budget, autumn, ALICE)
    assert (alice.verdict, alice.assignment) == (Verdict.HAS_OTHER_RUN, existing)


@pytest.mark.parametrize("has", ["course", "spring"])
def test_nor_is_what_a_learner_has_accepted_by_another_key(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata, autumn: ContentMetadata, has: str
) -> None:
    content = {"course": course, "spring": spring}[has]
    existing = given_assignment(budget, content, address=ALICE)
    accept(existing)
    for asked in {course, spring, autumn} - {content}:
        [alice] = outcomes(budget, asked, ALICE)
        assert (alice.verdict, alice.assignment) == (Verdict.ACCEPTED, existing)
    [alice] = outcomes(budget, content, ALICE)
    assert (alice.verdict, alice.assignment) == (Verdict.ALREADY_ASSIGNED, existing)


@pytest.mark.on_every_engine
def test_what_was_accepted_counts_until_it_ends(
    budget: Budget, spring: ContentMetadata, autumn: ContentMetadata
) -> None:
    accept(given_assignment(budget, spring, address=ALICE))
    for ends, verdict in ((NOW + DAY, Verdict.ACCEPTED), (NOW, Verdict.NEW)):
        ContentMetadata.objects.filter(pk=spring.pk).update(end_date=ends)
        [alice] = outcomes(budget, autumn, ALICE)
        assert alice.verdict is verdict


@pytest.mark.on_every_engine
def test_an_accepted_one_without_a_row_of_content_counts(
    budget: Budget, spring: ContentMetadata, autumn: ContentMetadata
) -> None:
    accept(given_assignment(budget, spring, address=ALICE))
    LearnerContentAssignment.objects.update(content=None)
    [alice] = outcomes(budget, autumn, ALICE)
    assert alice.verdict is Verdict.ACCEPTED


def test_an_accepted_one_is_named_before_an_open_one(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata, autumn: ContentMetadata
) -> None:
    given_assignment(budget, course, address=ALICE)
    allocate(budget, spring, ALICE, overrides=ANOTHER)
    accepted = LearnerContentAssignment.objects.get(content_key=spring.content_key)
    accept(accepted)
    [alice] = outcomes(budget, autumn, ALICE)
    assert (alice.verdict, alice.assignment) == (Verdict.ACCEPTED, accepted)


@pytest.mark.parametrize("state", [State.CANCELLED, State.EXPIRED, State.REVERSED])
def test_what_has_ended_does_not_count(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata, state: State
) -> None:
    given_assignment(budget, spring, address=ALICE)
    LearnerContentAssignment.objects.update(state=state)
    [alice] = outcomes(budget, course, ALICE)
    assert alice.verdict is Verdict.NEW


@pytest.mark.on_every_engine
def test_an_open_one_past_its_deadline_does_not_count_unless_it_is_being_redeemed(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    alices, bobs = (given_assignment(budget, spring, address=address) for address in (ALICE, BOB))
    redemption.begin(bobs, now=NOW)
    LearnerContentAssignment.objects.update(expires_at=NOW)
    alice, bob = outcomes(budget, course, ALICE, BOB)
    assert (alice.verdict, bob.verdict) == (Verdict.NEW, Verdict.HAS_OTHER_RUN)
    assert (alices.state, bob.assignment) == (State.ALLOCATED, bobs)


@pytest.mark.on_every_engine
def test_other_courses_and_budgets_and_learners_do_not_count(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    given_assignment(given_budget(), spring, address=ALICE)
    given_assignment(budget, spring, address=BOB)
    given_assignment(budget, given_run(given_content("RiversideX+TIDE2", with_run=False)), address=ALICE)
    [alice] = outcomes(budget, course, ALICE)
    assert alice.verdict is Verdict.NEW


def test_another_is_allocated_where_the_request_says_so(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    given_assignment(budget, spring, address=ALICE)
    accept(given_assignment(budget, spring, address=BOB))
    for expected in (Verdict.NEW, Verdict.ALREADY_ASSIGNED):
        found = outcomes(budget, course, ALICE, BOB, overrides=ANOTHER)
        assert [one.verdict for one in found] == [expected] * 2
    assert LearnerContentAssignment.objects.count() == 4


def test_what_is_left_out_is_free_also_where_the_budget_is_full(
    course: ContentMetadata, spring: ContentMetadata
) -> None:
    budget = given_budget(seats=1)
    given_assignment(budget, spring, address=ALICE)
    [alice] = outcomes(budget, course, ALICE)
    assert alice.verdict is Verdict.HAS_OTHER_RUN


@pytest.mark.parametrize("found_by", ["LMS user id", "earlier address"])
@pytest.mark.on_every_engine
def test_a_learner_is_found_under_another_address(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata, found_by: str
) -> None:
    existing = given_assignment(budget, spring, address=OLD_ADDRESS)
    user = given_user(email=ALICE, lms_user_id=7)
    if found_by == "LMS user id":
        LearnerContentAssignment.objects.update(lms_user_id=7)
    else:
        AccountAddress.objects.create(user=user, address=OLD_ADDRESS, learner_key=learner_key(OLD_ADDRESS))
    alice, again = outcomes(budget, course, ALICE, OLD_ADDRESS)
    assert (alice.verdict, alice.assignment) == (Verdict.HAS_OTHER_RUN, existing)
    assert alice.known_by_other_address
    assert (again.verdict, again.duplicate_of) == (Verdict.DUPLICATE, 0)


def test_an_ended_assignment_is_not_allocated_again_where_a_run_of_the_course_is_open(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    given_assignment(budget, course, address=ALICE)
    LearnerContentAssignment.objects.update(state=State.CANCELLED)
    allocate(budget, spring, ALICE)
    [alice] = outcomes(budget, course, ALICE)
    assert alice.verdict is Verdict.HAS_OTHER_RUN


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_course_and_run_allocated_at_once_make_one_seat(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata, autumn: ContentMetadata
) -> None:
    learners = addresses(20)
    contents = (course, spring, autumn, course)
    done = together([partial(allocate, budget, content, *learners) for content in contents])
    assert {type(one) for one in done} == {allocation.Allocation}
    assert LearnerContentAssignment.objects.count() == len(learners)
    assert Account.objects.get().reserved_cents == len(learners) * PRICE


def test_looking_for_the_same_course_takes_one_query_for_five_thousand_learners(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    learners = addresses(5000)
    counts = []
    for given in ([], learners[:90]):
        if given:
            allocate(budget, spring, *given)
        with CaptureQueriesContext(connection) as queries:
            allocation.preview(
                budget,
                content_key=course.content_key,
                price_cents=PRICE,
                entries=learners,
                now=NOW,
            )
        counts.append(len(queries))
    assert counts[0] == counts[1]


# -- Declined ------------------------------------------------------------------------------------------------


def declined_by(budget: Budget, content: ContentMetadata, address: str) -> LearnerContentAssignment:
    assignment = given_assignment(budget, content, address=address)
    decline(assignment, reason="No time", now=NOW)
    return assignment


def test_a_learner_that_declined_is_not_asked_again(budget: Budget, course: ContentMetadata) -> None:
    declined = declined_by(budget, course, ALICE)
    alice, bob = outcomes(budget, course, ALICE, BOB)
    assert (alice.verdict, alice.assignment) == (Verdict.DECLINED, declined)
    assert bob.verdict is Verdict.NEW
    declined.refresh_from_db()
    assert (declined.state, declined.cycle) == (State.CANCELLED, 1)


@pytest.mark.parametrize(
    ("request_says", "organisation_says", "verdict"),
    [
        (None, False, Verdict.DECLINED),
        (None, True, Verdict.REALLOCATED),
        (True, False, Verdict.REALLOCATED),
        (True, True, Verdict.REALLOCATED),
        (False, False, Verdict.DECLINED),
        (False, True, Verdict.DECLINED),
    ],
)
def test_the_request_decides_and_without_a_word_of_it_the_organisation(
    budget: Budget,
    course: ContentMetadata,
    request_says: bool | None,
    organisation_says: bool,
    verdict: Verdict,
) -> None:
    declined_by(budget, course, ALICE)
    Customer.objects.update(reallocate_declined=organisation_says)
    [alice] = outcomes(
        Budget.objects.get(), course, ALICE, overrides=Overrides(reallocate_declined=request_says)
    )
    assert alice.verdict is verdict


def test_what_was_declined_in_an_earlier_cycle_is_not_declined(
    budget: Budget, course: ContentMetadata
) -> None:
    assignment = declined_by(budget, course, ALICE)
    allocate(budget, course, ALICE, overrides=Overrides(reallocate_declined=True))
    [alice] = outcomes(budget, course, ALICE)
    assert alice.verdict is Verdict.ALREADY_ASSIGNED
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(state=State.CANCELLED)
    [alice] = outcomes(budget, course, ALICE)  # cancelled since, by an administrator
    assert alice.verdict is Verdict.REALLOCATED


def test_declining_counts_for_the_same_content_and_budget_alone(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    declined_by(budget, spring, ALICE)
    assert [one.verdict for one in outcomes(budget, course, ALICE)] == [Verdict.NEW]
    assert [one.verdict for one in outcomes(given_budget(), spring, ALICE)] == [Verdict.NEW]


def test_of_two_ended_assignments_of_one_learner_the_declined_one_counts(
    budget: Budget, course: ContentMetadata
) -> None:
    declined = declined_by(budget, course, OLD_ADDRESS)
    given_assignment(budget, course, address=ALICE)
    LearnerContentAssignment.objects.filter(pk=declined.pk).update(lms_user_id=7)
    LearnerContentAssignment.objects.exclude(pk=declined.pk).update(state=State.EXPIRED)
    given_user(email=ALICE, lms_user_id=7)
    alice, old = outcomes(budget, course, ALICE, OLD_ADDRESS)
    assert (alice.verdict, alice.assignment) == (Verdict.DECLINED, declined)
    assert (old.verdict, old.duplicate_of) == (Verdict.DUPLICATE, 0)


def test_another_course_run_is_said_before_that_it_was_declined(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    declined_by(budget, course, ALICE)
    existing = given_assignment(budget, spring, address=ALICE)
    [alice] = outcomes(budget, course, ALICE)
    assert (alice.verdict, alice.assignment) == (Verdict.HAS_OTHER_RUN, existing)
    [alice] = outcomes(budget, course, ALICE, overrides=ANOTHER)
    assert alice.verdict is Verdict.DECLINED


@pytest.mark.on_every_engine
def test_each_entry_of_a_list_has_its_own_verdict(
    budget: Budget, course: ContentMetadata, spring: ContentMetadata
) -> None:
    declined_by(budget, course, ALICE)
    given_assignment(budget, spring, address=BOB)
    found = outcomes(budget, course, CAROL, BOB, ALICE, BOB.upper())
    assert [one.verdict for one in found] == [
        Verdict.NEW,
        Verdict.HAS_OTHER_RUN,
        Verdict.DECLINED,
        Verdict.DUPLICATE,
    ]
