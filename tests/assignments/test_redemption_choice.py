"""Which of a learner's assignments a redemption is about."""

from datetime import timedelta
from itertools import pairwise

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.assignments import redemption
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.redemption import RedemptionRefused
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    given_assignment,
    given_budget,
    given_content,
    given_run,
)

pytestmark = pytest.mark.django_db


def test_a_learners_assignments_are_found_by_address_and_by_lms_user_id_and_no_others() -> None:
    budget, content = given_budget(), given_content()
    by_address = given_assignment(budget, content, address=ALICE)
    by_id = given_assignment(budget, content, address=BOB)
    LearnerContentAssignment.objects.filter(pk=by_id.pk).update(lms_user_id=7)
    given_assignment(budget, content, address=CAROL)
    without_address = given_assignment(budget, content, address="dave@learners.example")
    LearnerContentAssignment.objects.filter(pk=without_address.pk).update(learner_key="")
    key = by_address.learner_key

    assert set(redemption.of_learner(lms_user_id=7, learner_key=key)) == {by_address, by_id}
    assert set(redemption.of_learner(lms_user_id=7, learner_key="")) == {by_id}
    assert set(redemption.of_learner(lms_user_id=None, learner_key=key)) == {by_address}
    assert not redemption.of_learner(lms_user_id=None, learner_key="").exists()


def test_of_several_the_open_one_then_the_accepted_one_then_what_was_allocated_last_counts() -> None:
    budget, content = given_budget(), given_content()
    earlier, later = (
        given_assignment(budget, content, address=address, now=NOW + timedelta(days=days))
        for address, days in ((BOB, 0), (ALICE, 1))
    )
    assert redemption.best_of([]) is None
    ranks = [State.ALLOCATED, State.ACCEPTED, State.EXPIRED, State.CANCELLED, State.REVERSED]
    for better, worse in pairwise(ranks):
        for first, second in ((better, worse), (worse, better)):
            earlier.state, later.state = first, second
            best = redemption.best_of([later, earlier])
            assert best is not None
            assert best.state == better
    earlier.state = later.state = State.ALLOCATED
    assert redemption.best_of([earlier, later]) == redemption.best_of([later, earlier]) == later
    later.allocated_at = earlier.allocated_at  # then what was created last
    assert redemption.best_of([earlier, later]) == redemption.best_of([later, earlier]) == later


def test_what_is_not_assigned_is_refused_with_a_sentence_and_a_next_step() -> None:
    assert redemption.refusal(None, now=NOW) == RedemptionRefused(
        "reason_learner_not_assigned_content",
        "This course is not assigned to you.",
        "Ask your organisation for it.",
    )


def test_a_run_is_covered_by_itself_and_by_its_course_and_by_no_other_course() -> None:
    budget, course, run = given_budget(), "RiversideX+T100", "course-v1:RiversideX+T100+spring"
    course_wide = given_assignment(budget, given_content(course))
    of_the_run = given_assignment(budget, given_content(run), address=BOB)
    given_assignment(budget, given_content("RiversideX+T200"))
    assignments = LearnerContentAssignment.objects.all()
    assert set(assignments.filter(redemption.covering(run, course=course))) == {course_wide, of_the_run}
    assert assignments.get(redemption.covering(run)) == of_the_run


def test_a_course_is_covered_by_a_run_of_it_that_is_accepted_or_being_redeemed() -> None:
    budget, course = given_budget(), given_content("RiversideX+T100", with_run=False)
    accepted, redeeming, waiting = (given_run(course, f"course-v1:RiversideX+T100+{n}") for n in range(3))
    for run, address in ((accepted, ALICE), (redeeming, BOB), (waiting, CAROL)):
        given_assignment(budget, run, address=address)
    elsewhere = given_assignment(budget, given_run(given_content("RiversideX+T200", with_run=False)))
    rows = LearnerContentAssignment.objects.all()
    for one in (accepted.content_key, elsewhere.content_key):
        rows.filter(content_key=one).update(state=State.ACCEPTED)
    rows.filter(content_key=redeeming.content_key).update(redeeming_since=NOW)

    found = rows.filter(redemption.covering(course.content_key))

    assert {one.content_key for one in found} == {accepted.content_key, redeeming.content_key}


def test_the_redemptions_of_assignments_are_read_with_their_budgets_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    budget, content = given_budget(), given_content()
    one, other = (given_assignment(budget, content, address=address) for address in (ALICE, BOB))
    begun = [redemption.begin(assignment, now=NOW) for assignment in (one, other)]

    with django_assert_num_queries(1):
        found = redemption.redemptions([one])
        assert found == {one.pk: begun[0]}
        assert found[one.pk].assignment.budget == budget
