"""The administrator's list, and one assignment."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.cache import cache
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import Role
from bursary.assignments import actions, outcomes
from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, listing, refusal_of
from tests.world import (
    ALICE,
    NOW,
    NOW_ISO,
    PRICE,
    action_of,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

REJECTED = "zoe@nowhere.invalid"


def only_row(door: Door, budget: Budget, **query: object) -> dict[str, Any]:
    answer = door.assignments(budget, **query)
    assert answer.status_code == 200
    [row] = answer.json()["results"]
    assert isinstance(row, dict)
    return row


def test_a_row_has_all_that_clients_read(door: Door, budget: Budget, content: ContentMetadata) -> None:
    assignment = given_assignment(budget, content)

    row = only_row(door, budget)

    types = [action["action_type"] for action in row.pop("actions")]
    assert types == ["allocated", "learner_linked", "notified"]
    assert row.pop("content_metadata")
    assert row == {
        "uuid": str(assignment.uuid),
        "assignment_configuration": str(budget.assignment_configuration_uuid),
        "learner_email": ALICE,
        "lms_user_id": None,
        "account_ended": None,
        "join_by": None,
        "content_key": content.content_key,
        "parent_content_key": None,
        "is_assigned_course_run": False,
        "content_title": "Tidal Engines",
        "content_quantity": -PRICE,
        "state": "allocated",
        "transaction_uuid": None,
        "earliest_possible_expiration": {"date": "2026-05-31T09:00:00Z", "reason": "NINETY_DAYS_PASSED"},
        "recent_action": {"action_type": "assigned", "timestamp": NOW_ISO},
        "learner_state": "notifying",
        "error_reason": None,
    }


def test_a_row_has_its_content_as_of_the_last_check(door: Door, budget: Budget) -> None:
    content = given_content(
        start_date=NOW + timedelta(days=30),
        end_date=NOW + timedelta(days=60),
        enroll_by=NOW + timedelta(days=20),
        course_type="executive-education",
        partners=[{"name": "Riverside School"}],
    )
    given_assignment(budget, content)
    row = only_row(door, budget)
    enroll_by = "2026-03-22T09:00:00Z"
    assert row["content_metadata"] == {
        "title": "Tidal Engines",
        "start_date": "2026-04-01T09:00:00Z",
        "end_date": "2026-05-01T09:00:00Z",
        "enroll_by": enroll_by,
        "price_cents": PRICE,
        "course_type": "executive-education",
        "partners": [{"name": "Riverside School"}],
        "as_of": NOW_ISO,
    }
    deadline = {"date": enroll_by, "reason": "ENROLLMENT_DATE_PASSED"}
    assert row["earliest_possible_expiration"] == deadline


def test_one_assignment_is_answered_as_the_list_shows_it(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assignment = given_assignment(budget, content)
    assert door.assignment(assignment).json() == only_row(door, budget)


def test_a_row_from_before_the_replica_has_no_content_and_loses_nothing_else(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    given_assignment(budget, content)
    LearnerContentAssignment.objects.update(content=None)
    row = only_row(door, budget)
    assert (row["content_metadata"], row["content_title"]) == (None, None)
    assert row["content_key"] == content.content_key
    assert row["earliest_possible_expiration"]["date"]


@pytest.mark.parametrize("state", State.values)
def test_what_clients_follow_unguarded_is_never_null(
    door: Door, budget: Budget, content: ContentMetadata, state: str
) -> None:
    given_assignment(budget, content)
    LearnerContentAssignment.objects.update(state=state)
    row = only_row(door, budget)
    assert row["state"] == state
    assert row["recent_action"]["action_type"]
    assert row["recent_action"]["timestamp"]
    assert row["earliest_possible_expiration"]["date"]
    assert row["earliest_possible_expiration"]["reason"] in ExpiryReason.values


@pytest.mark.parametrize("learner_state", LearnerState)
def test_a_learner_state_is_the_clients_word_or_null(
    door: Door, budget: Budget, content: ContentMetadata, learner_state: LearnerState
) -> None:
    given_assignment(budget, content)
    LearnerContentAssignment.objects.update(learner_state=learner_state)
    assert only_row(door, budget)["learner_state"] == (learner_state.label or None)


def test_a_notified_learner_is_waiting(door: Door, budget: Budget, content: ContentMetadata) -> None:
    given_assignment(budget, content)
    deliver()
    row = only_row(door, budget)
    assert (row["learner_state"], row["error_reason"]) == ("waiting", None)
    assert [action["status"] for action in row["actions"]] == ["done"] * 3
    assert row["actions"][2]["completed_at"] == NOW_ISO


def test_a_reminder_that_arrived_is_the_most_recent_action(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assignment, later = given_assignment(budget, content), NOW + timedelta(days=3)
    actions.request([assignment], [ActionType.REMINDED], now=later)
    [claimed] = actions.claim(
        now=later, lease=timedelta(minutes=1), limit=1, pks=[action_of(assignment, ActionType.REMINDED).pk]
    )
    assert only_row(door, budget)["recent_action"] == {"action_type": "assigned", "timestamp": NOW_ISO}

    actions.finish(claimed, outcomes.Done(), now=later)

    expected = {"action_type": "reminded", "timestamp": "2026-03-05T09:00:00Z"}
    assert only_row(door, budget)["recent_action"] == expected


def test_a_rejected_address_has_the_clients_reason_and_the_exact_cause(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assignment = given_assignment(budget, content, address=REJECTED)
    deliver()
    row = only_row(door, budget)
    assert row["state"] == "allocated"  # what fails afterwards never changes the state
    assert row["learner_state"] == "failed"
    assert row["error_reason"] == {
        "action_type": "notified",
        "error_reason": "email_error",
        "cause": "address_rejected",
    }

    actions.retry(action_of(assignment, ActionType.NOTIFIED), now=NOW)

    row = only_row(door, budget)
    assert (row["learner_state"], row["error_reason"]) == ("notifying", None)


def test_no_stack_trace_ever_leaves_the_house(door: Door, budget: Budget, content: ContentMetadata) -> None:
    assignment = given_assignment(budget, content, address=REJECTED)
    deliver()
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert "Traceback" in failed.traceback
    assert "Traceback" in failed.attempt_log[0]["traceback"]
    answers = (
        door.assignments(budget),
        door.assignment(assignment),
        door.timeline(assignment),
        door.allocate(budget, content, REJECTED),
        door.cancel(budget, assignment.uuid),
    )
    for answer in answers:
        assert answer.status_code < 300
        text = answer.content.decode()
        assert "Traceback" not in text
        assert '"traceback"' not in text
        assert "troubles.py" not in text


@pytest.mark.parametrize("rows", [10, 100])
def test_a_page_takes_eight_queries_and_its_search_one_however_many_rows_it_has(
    door: Door,
    budget: Budget,
    content: ContentMetadata,
    rows: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """The key with its user, the budget with the permission, counts, keys, rows, budgets, timelines."""
    Budget.objects.update(limit_cents=None)
    allocate(budget, content, *addresses(rows))
    for queries, search in ((8, {}), (9, {"search": "learners.example"})):
        with django_assert_num_queries(queries):
            answer = door.assignments(budget, page_size=100, state__in="allocated", **search)
        assert len(answer.json()["results"]) == rows


@pytest.mark.parametrize("rows", [10, 100])
@pytest.mark.parametrize("warm", [True, False])
def test_a_session_takes_one_query_more_unless_its_process_remembers_it(
    budget: Budget,
    content: ContentMetadata,
    rows: int,
    warm: bool,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """The session and its user in two; one, where a single process serves and may remember sessions."""
    Budget.objects.update(limit_cents=None)
    allocate(budget, content, *addresses(rows))
    door = Door(session=given_user(Role.ADMINISTRATOR, customer=budget.customer))
    if not warm:
        cache.clear()
    remembered = warm and settings.SESSION_ENGINE.endswith(".cached_db")
    with django_assert_num_queries(8 if remembered else 9):
        answer = door.assignments(budget)
    assert len(answer.json()["results"]) == rows


def test_an_unknown_assignment_is_404(door: Door, budget: Budget) -> None:
    for path in (f"{listing(budget)}{uuid4()}/", f"{listing(budget)}{uuid4()}/actions/"):
        assert refusal_of(door.get(path)) == (404, "not_found")


def test_an_assignment_of_another_budget_is_404_also_under_the_same_organisation(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    other = given_assignment(given_budget(customer=budget.customer), content)
    assert refusal_of(door.get(f"{listing(budget)}{other.uuid}/")) == (404, "not_found")
    assert refusal_of(door.get(f"{listing(budget)}{other.uuid}/actions/")) == (404, "not_found")
    assert not door.assignments(budget).json()["results"]


def test_a_configuration_is_found_by_its_own_uuid_and_not_by_the_policys(budget: Budget) -> None:
    own = given_budget(customer=budget.customer, assignment_configuration_uuid=uuid4())
    door = Door(session=given_user(Role.ADMINISTRATOR, customer=budget.customer))
    assert door.assignments(own).status_code == 200
    answer = door.get(f"assignment-configurations/{own.uuid}/admin/assignments/")
    assert refusal_of(answer) == (404, "not_found")
