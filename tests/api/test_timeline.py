"""An assignment's timeline over HTTP."""

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.assignments import actions
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, refusal_of
from tests.world import ALICE, NOW, NOW_ISO, action_of, allocate, deliver, given_assignment

pytestmark = pytest.mark.django_db

REJECTED = "zoe@nowhere.invalid"


@pytest.mark.on_every_engine
def test_the_timeline_answers_record_0013s_three_questions(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assignment = given_assignment(budget, content, address=REJECTED)
    deliver(now=NOW + timedelta(minutes=1))

    answer = door.timeline(assignment)

    assert answer.status_code == 200
    body = answer.json()
    order = ["allocated", "learner_linked", "notified"]
    assert [action["action_type"] for action in body["results"]] == order
    assert (body["count"], body["num_pages"], body["current_page"], body["start"]) == (3, 1, 1, 0)
    assert body["latest_successful"] == body["results"][1]
    assert body["failures"] == [body["results"][2]]


def test_an_action_of_the_timeline_shows_its_result(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assignment = given_assignment(budget, content, address=REJECTED)
    deliver()
    failed = action_of(assignment, ActionType.NOTIFIED)
    retried = actions.retry(failed, now=NOW)
    shown = {action["uuid"]: action for action in door.timeline(assignment).json()["results"]}
    detail = "Addresses that end in .invalid cannot receive mail."
    assert shown[str(failed.uuid)] == {
        "created": NOW_ISO,
        "modified": NOW_ISO,
        "uuid": str(failed.uuid),
        "action_type": "notified",
        "completed_at": None,
        "failed_at": NOW_ISO,
        "error_reason": "email_error",
        "status": "failed",
        "cause": "address_rejected",
        "cycle": 1,
        "detail": detail,
        "content_run_key": None,
        "occasion": "",
        "attempts": 1,
        "attempt_log": [{"at": NOW.isoformat(), "attempt": 1, "cause": "address_rejected", "detail": detail}],
        "due_at": None,
        "recipient": REJECTED,
        "provider_ref": "",
        "retry_of": None,
    }
    again = shown[str(retried.uuid)]
    assert (again["retry_of"], again["occasion"]) == (str(failed.uuid), "retry-1")
    assert (again["status"], again["due_at"]) == ("pending", NOW_ISO)


@pytest.mark.on_every_engine
def test_a_timeline_is_in_the_order_in_which_things_happened(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    assignment = given_assignment(budget, content)
    door.cancel(budget, assignment.uuid)
    allocate(budget, content, ALICE, now=NOW + timedelta(days=1))
    rows = door.timeline(assignment).json()["results"]
    assert [(row["action_type"], row["cycle"]) for row in rows] == [
        ("allocated", 1),
        ("learner_linked", 1),
        ("notified", 1),
        ("cancelled", 1),
        ("cancellation_notified", 1),
        ("allocated", 2),
        ("learner_linked", 2),
        ("notified", 2),
    ]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("notified", ["notified"]),
        ("notified,allocated", ["allocated", "notified"]),
        ("cancelled", []),
        ("", ["allocated", "learner_linked", "notified"]),
        (",", ["allocated", "learner_linked", "notified"]),
    ],
)
def test_a_timeline_is_filtered_by_action_type(
    door: Door, budget: Budget, content: ContentMetadata, asked: str, found: list[str]
) -> None:
    body = door.timeline(given_assignment(budget, content), action_type=asked).json()
    assert [row["action_type"] for row in body["results"]] == found
    assert body["count"] == len(found)
    assert body["latest_successful"]["action_type"] == "learner_linked"  # of all, whatever is shown


@pytest.mark.parametrize("asked", ["linked", "NOTIFIED", "notified,\0", "notified,linked"])
def test_an_unknown_action_type_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, asked: str
) -> None:
    answer = door.timeline(given_assignment(budget, content), action_type=asked)
    assert refusal_of(answer) == (400, "invalid_request")
    assert len(answer.json()["action_type"]) == 1


def test_a_timeline_takes_as_many_queries_however_long_it_is(
    door: Door,
    budget: Budget,
    content: ContentMetadata,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """Key, budget, the assignment with its actions (3), count, page, latest successful, failures."""
    assignment = LearnerContentAssignment.objects.select_related("budget").get(
        pk=given_assignment(budget, content).pk
    )
    for _again in range(2):
        with django_assert_num_queries(9):
            door.timeline(assignment)
        door.cancel(budget, assignment.uuid)
        allocate(budget, content, ALICE)
