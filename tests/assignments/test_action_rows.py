"""What the rows of the timeline keep, and which of them are claimed or annotated."""

from datetime import timedelta

import pytest

from bursary.assignments import actions
from bursary.assignments.actions import Failed, Failure
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests.world import (
    ALICE,
    BOB,
    NOW,
    action_of,
    allocate,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)


def test_work_keeps_the_run_that_it_is_for_and_mostly_there_is_none() -> None:
    assignment = given_assignment()

    actions.request([assignment], [ActionType.NUDGED], now=NOW)
    actions.request([assignment], [ActionType.REDEEMED], now=NOW, content_run_key="course-v1:T+1+R1")

    *allocated, nudge, redemption = assignment.actions.order_by("pk").values_list(
        "content_run_key", flat=True
    )
    assert (set(allocated), nudge, redemption) == ({""}, "", "course-v1:T+1+R1")


@pytest.mark.parametrize(("named", "expected"), [(None, "R1"), ("R2", "R2"), ("", "")])
def test_a_retried_redemption_is_for_the_run_before_unless_another_or_none_is_named(
    named: str | None, expected: str
) -> None:
    assignment = given_assignment()
    actions.request([assignment], [ActionType.REDEEMED], now=NOW, content_run_key="R1")
    pk = action_of(assignment, ActionType.REDEEMED).pk
    (claimed,) = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=1, pks=[pk])
    trouble = Failure(ErrorReason.INTERNAL_API_ERROR, "internal_error", "It went wrong.", "Traceback…")
    actions.finish(claimed, Failed(trouble), now=NOW)

    assert actions.retry(claimed, now=LATER, content_run_key=named).content_run_key == expected


def test_a_fact_keeps_its_detail_and_its_actor_and_what_follows_has_the_actor_too() -> None:
    assignment, ada = given_assignment(), given_user()

    actions.record_and_request([assignment], ActionType.BOUNCED, work=[], now=NOW)
    actions.record_and_request(
        [assignment], ActionType.DELIVERED, work=[ActionType.REMINDED], now=NOW, actor=ada, detail="250 OK"
    )

    rows = assignment.actions.order_by("pk").values_list("action_type", "actor", "detail")
    assert list(rows)[-3:] == [
        ("bounced", None, ""),
        ("delivered", ada.pk, "250 OK"),
        ("reminded", ada.pk, ""),
    ]


def test_a_sentence_is_added_to_the_allocation_of_this_cycle_and_to_no_other_row() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB)
    bob, alice = LearnerContentAssignment.objects.order_by("-pk")
    cancel(budget, uuids=[alice.uuid, bob.uuid], now=NOW)
    allocate(budget, content, ALICE, BOB)
    alice.refresh_from_db()

    actions.annotate(alice, "Its links were revoked.", now=LATER)
    actions.annotate(alice, "Its address was added.", now=LATER)

    annotated = action_of(alice, ActionType.ALLOCATED)
    assert (annotated.cycle, annotated.detail) == (2, "Its links were revoked. Its address was added.")
    assert annotated.modified == LATER
    others = LearnerContentAssignmentAction.objects.exclude(pk=annotated.pk)
    assert set(others.values_list("detail", "modified")) == {("", NOW)}


@pytest.mark.on_every_engine
def test_no_more_is_claimed_than_the_limit() -> None:
    for _each in range(2):
        given_assignment()
    assert LearnerContentAssignmentAction.objects.filter(status=Status.PENDING).count() == 2

    claimed = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=1)

    assert [one.status for one in claimed] == [Status.RUNNING]
    assert LearnerContentAssignmentAction.objects.filter(status=Status.PENDING).count() == 1
