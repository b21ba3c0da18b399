"""Linking with the request for it: done when the allocation is, and on the timeline."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access import permissions
from bursary.access.models import LearnerLink
from bursary.access.permissions import Permission
from bursary.assignments import actions, address_corrections, failures, outcomes
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    action_of,
    allocate,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
    link_as_work,
)

pytestmark = pytest.mark.django_db


@pytest.mark.on_every_engine
def test_a_learner_may_see_what_is_assigned_before_any_work_is_done() -> None:
    alice, budget = given_user(email=ALICE), given_budget()
    assignment = given_assignment(budget)
    assert permissions.may(alice, Permission.LEARN, customer_pk=budget.customer_id)
    assert assignment.learner_state == LearnerState.NOTIFYING


def test_its_action_is_done_names_the_link_and_waits_for_nothing() -> None:
    linked = action_of(given_assignment(), ActionType.LEARNER_LINKED)
    assert (linked.status, linked.completed_at, linked.recipient) == (Status.DONE, NOW, ALICE)
    assert (linked.due_at, linked.early, linked.attempts) == (None, None, 0)
    assert linked.provider_ref == f"link:{LearnerLink.objects.get().pk}"


@pytest.mark.on_every_engine
def test_learners_of_several_customers_are_linked_to_their_own() -> None:
    first, second = given_assignment(), given_assignment(address=BOB)
    LearnerLink.objects.all().delete()
    actions.request([first, second], [ActionType.LEARNER_LINKED], now=NOW, dedup_key="again")
    links = LearnerLink.objects.values_list("learner_email", "customer")
    assert set(links) == {(ALICE, first.budget.customer_id), (BOB, second.budget.customer_id)}


def test_linking_learners_of_several_budgets_takes_as_many_queries_as_of_one() -> None:
    customer = given_customer()
    pks = [given_assignment(given_budget(customer=customer), address=one).pk for one in (ALICE, BOB, CAROL)]
    asked: list[int] = []
    for some in (pks[:1], pks):
        assignments = list(LearnerContentAssignment.objects.filter(pk__in=some))
        with CaptureQueriesContext(connection) as queries:
            actions.request(assignments, [ActionType.LEARNER_LINKED], now=NOW, dedup_key=f"{len(some)}")
        asked.append(len(queries))
    assert asked[0] == asked[1]


def test_a_corrected_address_is_linked_at_once() -> None:
    assignment = given_assignment(address="alcie@learners.example")
    address_corrections.correct_assignment(assignment, address=ALICE, now=NOW)
    assert LearnerLink.objects.filter(learner_email=ALICE).exists()
    linked = assignment.actions.filter(action_type=ActionType.LEARNER_LINKED).timeline()
    assert [(one.recipient, one.status) for one in linked] == [
        ("alcie@learners.example", Status.DONE),
        (ALICE, Status.DONE),
    ]


def test_a_link_that_failed_is_made_when_it_is_retried_and_the_progress_follows() -> None:
    assignment = given_assignment()
    link = link_as_work(assignment)
    (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[link.pk])
    failure = outcomes.Failure(ErrorReason.INTERNAL_API_ERROR, "unexpected_error", "It failed.", "")
    actions.finish(claimed, outcomes.Failed(failure), now=NOW)
    assert LearnerContentAssignment.objects.get().learner_state == LearnerState.FAILED

    failures.retry(assignment.budget, uuids=[assignment.uuid], now=NOW)

    assert LearnerContentAssignment.objects.get().learner_state == LearnerState.NOTIFYING
    assert action_of(assignment, ActionType.LEARNER_LINKED).status == Status.DONE
    assert LearnerLink.objects.filter(learner_email=ALICE).exists()


def test_a_link_that_is_skipped_is_not_made() -> None:
    assignment = given_assignment()
    link = link_as_work(assignment)
    (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[link.pk])
    failure = outcomes.Failure(ErrorReason.INTERNAL_API_ERROR, "unexpected_error", "It failed.", "")
    actions.finish(claimed, outcomes.Failed(failure), now=NOW)
    failures.skip(assignment.budget, uuids=[assignment.uuid], reason="Not needed.", now=NOW)
    assert not LearnerLink.objects.exists()


def test_an_allocation_that_is_refused_makes_no_link() -> None:
    budget, content = given_budget(seats=1), given_content()
    with pytest.raises(AllocationRefused):
        allocate(budget, content, ALICE, BOB)
    assert not LearnerLink.objects.exists()
