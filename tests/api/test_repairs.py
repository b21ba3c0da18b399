"""Failed work and more time over HTTP: what there is, what is refused, and the result of each assignment."""

from datetime import timedelta
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

from bursary.access.models import Role
from bursary.assignments import actions, cancellation, reminders, sweeps
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, door_of, listing, refusal_of
from tests.world import ALICE, BOB, CAROL, NOW, action_of, allocate, deliver, given_customer

pytestmark = pytest.mark.django_db

CAUSE = "address_rejected"


@pytest.fixture
def three(budget: Budget, content: ContentMetadata) -> list[LearnerContentAssignment]:
    """Return open assignments; the mails of the first two failed."""
    allocate(budget, content, ALICE, BOB, CAROL)
    rows = list(LearnerContentAssignment.objects.order_by("pk"))
    for one in rows[:2]:
        action = action_of(one, ActionType.NOTIFIED)
        (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[action.pk])
        failure = Failure(ErrorReason.EMAIL_ERROR, CAUSE, "No such mailbox.", "")
        assert actions.finish(claimed, Failed(failure), now=NOW)
    return rows


def send(door: Door, budget: Budget, verb: str, **body: object) -> Any:
    return door.post(f"{listing(budget)}{verb}", body)


def pending(assignment: LearnerContentAssignment) -> int:
    return assignment.actions.filter(action_type=ActionType.NOTIFIED, status=Status.PENDING).count()


def test_failures_are_listed_by_cause_and_day(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    answer = door.get(listing(budget).replace("assignments/", "failures/"))

    assert answer.status_code == 200
    assert answer.json()["causes"] == [{"cause": CAUSE, "count": 2}]
    (row,) = answer.json()["results"]
    assert {name: row[name] for name in ("cause", "action_type", "error_reason", "day", "count")} == {
        "cause": CAUSE,
        "action_type": "notified",
        "error_reason": "email_error",
        "day": "2026-03-02",
        "count": 2,
    }


def test_the_list_can_be_filtered_by_cause(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    listed = door.assignments(budget, cause=f"{CAUSE},message_refused").json()
    assert {row["learner_email"] for row in listed["results"]} == {ALICE, BOB}
    assert door.assignments(budget, cause="message_refused").json()["count"] == 0


def test_named_ones_are_retried_and_the_others_named_with_the_reason(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    alice, _bob, carol = three
    unknown = uuid4()

    answer = send(door, budget, "retry/", assignment_uuids=[str(alice.uuid), str(carol.uuid), str(unknown)])

    assert answer.status_code == 200
    assert answer.json()["retried"] == [str(alice.uuid)]
    assert {one["assignment_uuid"]: one["reason"] for one in answer.json()["not_retried"]} == {
        str(carol.uuid): "nothing_failed",
        str(unknown): "unknown_assignment",
    }
    assert pending(alice) == 1


def test_a_retry_of_nothing_is_refused(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    answer = send(door, budget, "retry/", assignment_uuids=[str(three[2].uuid)])
    assert refusal_of(answer) == (422, "nothing_failed")


def test_all_of_a_cause_are_retried_if_their_count_is_the_confirmed_one(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    changed = send(door, budget, f"retry-all/?cause={CAUSE}", confirmed_count=3)
    assert refusal_of(changed) == (409, "count_changed")
    assert changed.json()["count"] == 2
    assert [pending(one) for one in three] == [0, 0, 1]

    answer = send(door, budget, f"retry-all/?cause={CAUSE}", confirmed_count=2)

    assert answer.status_code == 202
    assert answer.json() == {"retried": 2, "not_retried_count": 0, "not_retried": []}
    assert [pending(one) for one in three] == [1, 1, 1]


def test_too_many_are_refused(
    door: Door,
    budget: Budget,
    three: list[LearnerContentAssignment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bursary.api.bulk.MAX_ADDRESSES", 2)
    assert refusal_of(send(door, budget, "retry-all/", confirmed_count=3)) == (400, "too_many_found")


def test_skipping_needs_a_reason_which_the_timeline_keeps(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    named = [str(three[0].uuid)]
    refused = send(door, budget, "skip/", assignment_uuids=named, reason=" ")
    assert refusal_of(refused) == (400, "invalid_request")
    # The refusal has a reason of its own, too.
    assert refused.json()["fields"] == {"reason": ["This field may not be blank."]}

    answer = send(door, budget, "skip/", assignment_uuids=named, reason="Left the company.")

    assert answer.json()["skipped"] == named
    last = door.timeline(three[0]).json()["results"][-1]
    assert (last["status"], last["cause"], last["detail"]) == (
        "skipped",
        "skipped_on_request",
        "Left the company.",
    )


def test_deadlines_are_extended_and_the_answer_says_what_decides(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    answer = send(door, budget, "extend/", assignment_uuids=[str(three[0].uuid)], until="2026-07-31")

    assert answer.json() == {
        "extended": [
            {
                "assignment_uuid": str(three[0].uuid),
                "old": "2026-05-31T09:00:00Z",
                "new": "2026-07-31T21:59:59Z",
                "reason": "EXTENSION_PASSED",
            }
        ],
        "no_change": [],
        "not_extended": [],
        "understood": {"until": "2026-07-31T23:59:59+02:00"},
    }
    row = door.assignment(three[0]).json()
    assert row["earliest_possible_expiration"]["reason"] == "EXTENSION_PASSED"


def test_an_earlier_date_is_refused(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    answer = send(door, budget, "extend/", assignment_uuids=[str(three[0].uuid)], until="2026-03-31")
    assert refusal_of(answer) == (422, "deadline_not_later")


def test_all_that_a_filter_finds_are_extended(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    door.cancel(budget, three[2].uuid)
    answer = send(door, budget, "extend-all/", until="2026-07-31", confirmed_count=3)
    assert answer.json()["extended"] == 2
    (refused,) = answer.json()["not_extended"]
    assert (refused["assignment_uuid"], refused["reason"]) == (str(three[2].uuid), "not_extendable")


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.LEARNER])
@pytest.mark.parametrize("verb", ["retry/", "retry-all/", "skip/", "extend/", "extend-all/", "failures/"])
def test_a_budget_that_is_not_yours_is_not_found(
    budget: Budget, three: list[LearnerContentAssignment], role: Role, verb: str
) -> None:
    customer = given_customer() if role is Role.ADMINISTRATOR else budget.customer
    door = door_of(role, customer=customer)
    body = {
        "assignment_uuids": [str(three[0].uuid)],
        "reason": "No.",
        "until": "2026-07-31",
        "confirmed_count": 3,
    }
    found = (
        door.get(listing(budget).replace("assignments/", verb))
        if verb == "failures/"
        else send(door, budget, verb, **body)
    )
    assert refusal_of(found) == (404, "not_found")
    assert [pending(one) for one in three] == [0, 0, 1]


@pytest.mark.parametrize(("verb", "done"), [("cancel-all/", "cancelled"), ("remind-all/", "no_change")])
def test_cancelling_and_reminding_all_keep_to_a_count_if_one_was_confirmed(
    door: Door, budget: Budget, three: list[LearnerContentAssignment], verb: str, done: str
) -> None:
    deliver()  # to the third: a reminder right after it would be a repetition
    asked = f"{verb}?learner_state=waiting"

    refused = send(door, budget, asked, confirmed_count=2)
    assert refusal_of(refused) == (409, "count_changed")
    assert refused.json()["count"] == 1
    assert refused.json()["detail"] == "The filter finds 1 assignment now, instead of 2."
    assert set(LearnerContentAssignment.objects.values_list("state", flat=True)) == {"allocated"}

    answer = send(door, budget, asked, confirmed_count=1)
    assert (answer.status_code, answer.json()[done]) == (202, 1)


@pytest.mark.parametrize(
    ("verb", "work", "done"),
    [
        ("cancel-all/", (cancellation, "cancel"), "cancelled"),
        ("remind-all/", (reminders, "remind"), "reminded"),
    ],
)
def test_what_the_filter_finds_only_after_the_count_was_confirmed_is_left_as_it_is(
    door: Door,
    budget: Budget,
    content: ContentMetadata,
    three: list[LearnerContentAssignment],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    work: tuple[ModuleType, str],
    done: str,
) -> None:
    waiting = {"learner_state": LearnerState.WAITING}
    *others, late = three
    budget.assignments.filter(pk__in=[one.pk for one in others]).update(**waiting)
    module, name = work
    of_one_batch = getattr(module, name)

    def while_another_is_notified(*arguments: Any, **options: Any) -> Any:
        result = of_one_batch(*arguments, **options)
        budget.assignments.filter(pk=late.pk).update(**waiting)
        allocate(budget, content, "dora@people.example")
        budget.assignments.filter(learner_email="dora@people.example").update(**waiting)
        return result

    monkeypatch.setattr(sweeps, "BATCH", 1)
    monkeypatch.setattr(module, name, while_another_is_notified)

    answer = send(door, budget, f"{verb}?learner_state=waiting", confirmed_count=2)
    assert (answer.status_code, answer.json()[done], answer.json()["no_change"]) == (202, 2, 0)
