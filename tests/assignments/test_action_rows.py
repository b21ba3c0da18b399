"""What the rows of the timeline keep, and which of them are claimed or annotated."""

from datetime import timedelta

import pytest

from bursary.assignments import actions, outcomes
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import AttemptResult, Done, Failed, Failure, NotTried, Postponed
from bursary.lib.leases import MAY_BE_EARLY, NOT_BEFORE
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
    given_user,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)
TROUBLE = Failure(ErrorReason.INTERNAL_API_ERROR, "internal_error", "It went wrong.", "Traceback…")


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
    actions.finish(claimed, Failed(TROUBLE), now=NOW)

    assert actions.retry(claimed, now=LATER, content_run_key=named).content_run_key == expected


def test_a_retry_keeps_its_actor_and_is_due_at_once_but_for_its_place_among_many() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)
    ada, failed = given_user(), actions.claim(now=NOW, lease=timedelta(minutes=2), limit=3)
    for one in failed:
        actions.finish(one, Failed(TROUBLE), now=NOW)

    actions.retry(failed[0], now=LATER, actor=ada)
    actions.retry(failed[1], now=LATER, turn=2)
    actions.retry_all(failed[2:], now=LATER, actor=ada)

    rows = LearnerContentAssignmentAction.objects.filter(retry_of__in=failed).order_by("pk")
    assert list(rows.values_list("recipient", "actor", "due_at", "early")) == [
        (ALICE, ada.pk, LATER, NOT_BEFORE),
        (BOB, None, LATER + timedelta(seconds=2), MAY_BE_EARLY),
        (CAROL, ada.pk, LATER, NOT_BEFORE),
    ]


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

    actions.add_to_detail(alice, "Its links were revoked.", now=LATER)
    actions.add_to_detail(alice, "Its address was added.", now=LATER)

    annotated = action_of(alice, ActionType.ALLOCATED)
    assert (annotated.cycle, annotated.detail) == (2, "Its links were revoked. Its address was added.")
    assert annotated.modified == LATER
    others = LearnerContentAssignmentAction.objects.exclude(pk=annotated.pk)
    assert set(others.values_list("detail", "modified")) == {("", NOW)}


def test_what_is_requested_or_recorded_for_many_at_once_belongs_to_the_cycle_of_each() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE)
    cancel(budget, uuids=[LearnerContentAssignment.objects.get().uuid], now=NOW)
    allocate(budget, content, ALICE, BOB)
    both = list(LearnerContentAssignment.objects.order_by("pk"))

    actions.request(both, [ActionType.REMINDED], now=NOW)
    actions.record_and_request(both, ActionType.DELIVERED, work=[ActionType.NUDGED], now=NOW)

    kinds = [ActionType.REMINDED, ActionType.DELIVERED, ActionType.NUDGED]
    made = LearnerContentAssignmentAction.objects.filter(action_type__in=kinds)
    rows = made.values_list("assignment__learner_email", "cycle", "action_type")
    assert set(rows) == {(email, cycle, kind) for email, cycle in ((ALICE, 2), (BOB, 1)) for kind in kinds}


@pytest.mark.on_every_engine
def test_no_more_is_claimed_than_the_limit() -> None:
    for _each in range(2):
        given_assignment()
    assert LearnerContentAssignmentAction.objects.filter(status=Status.PENDING).count() == 2

    claimed = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=1)

    assert [one.status for one in claimed] == [Status.RUNNING]
    assert LearnerContentAssignmentAction.objects.filter(status=Status.PENDING).count() == 1


def test_an_attempt_is_counted_when_it_begins_unless_its_work_was_ended_or_redirected_meanwhile() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB, CAROL)
    lease, rows = timedelta(minutes=2), LearnerContentAssignmentAction.objects
    alices, bobs, carols = actions.claim(now=NOW, lease=lease, limit=3, start_attempts=False)
    columns = ("status", "attempts", "modified", "lease_until")
    waiting = (Status.PENDING, 0, NOW, NOW + lease)
    assert set(rows.exclude(lease_until=None).values_list(*columns)) == {waiting}

    actions.supersede_rows(rows.filter(pk=bobs.pk), now=NOW, error_code="moved_on")
    rows.filter(pk=carols.pk).update(recipient=BOB)
    begun = [actions.begin(one, now=LATER, lease=lease) for one in (alices, bobs, carols)]

    assert begun == [True, False, False]
    assert (alices.status, alices.attempts, alices.modified) == (Status.RUNNING, 1, LATER)
    assert (bobs.status, bobs.attempts) == (carols.status, carols.attempts) == (Status.PENDING, 0)
    assert [rows.filter(pk=one.pk).values_list(*columns).get() for one in (alices, bobs, carols)] == [
        (Status.RUNNING, 1, LATER, LATER + lease),
        (Status.SUPERSEDED, 0, NOW, None),
        waiting,
    ]


@pytest.mark.parametrize(
    ("outcome", "status", "mail_to_the_old_address"),
    [
        (Postponed(TROUBLE, until=LATER), Status.PENDING, Status.SUPERSEDED),
        (NotTried(until=LATER), Status.PENDING, Status.SUPERSEDED),
        (Failed(TROUBLE), Status.FAILED, Status.SUPERSEDED),
        (Done(), Status.DONE, Status.DONE),
    ],
)
def test_without_success_a_mail_to_an_address_that_was_corrected_meanwhile_is_superseded_and_a_redemption_not(
    outcome: AttemptResult, status: Status, mail_to_the_old_address: Status
) -> None:
    assignment = given_assignment()
    actions.request([assignment], [ActionType.REDEEMED], now=NOW)
    mail, redemption = actions.claim(now=NOW, lease=timedelta(minutes=2), limit=2)
    LearnerContentAssignment.objects.update(learner_email=BOB, redeeming_since=NOW)

    assert actions.finish(mail, outcome, now=NOW)
    assert actions.finish(redemption, outcome, now=NOW)

    due_at = LATER if status == Status.PENDING else None
    superseded = mail_to_the_old_address == Status.SUPERSEDED
    mail.refresh_from_db()
    redemption.refresh_from_db()
    assert (mail.action_type, mail.status, mail.due_at) == (
        ActionType.NOTIFIED,
        mail_to_the_old_address,
        None,
    )
    assert mail.error_code == ("email_corrected" if superseded else "")
    assert (redemption.status, redemption.due_at) == (status, due_at)
    assignment.refresh_from_db()
    # What finally failed holds the assignment no more.
    assert assignment.redeeming_since == (None if status == Status.FAILED else NOW)


def test_a_fact_has_a_detail_for_each_assignment_and_belongs_to_the_cycle_that_is_named() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB)
    LearnerContentAssignment.objects.update(cycle=2)
    first, second = LearnerContentAssignment.objects.order_by("pk")
    details = {first.pk: "One.", second.pk: "Two."}

    actions.record([first, second], ActionType.EMAIL_CORRECTED, now=LATER, detail=details, cycle=1)
    actions.record([second], ActionType.EMAIL_CORRECTED, now=LATER)

    found = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.EMAIL_CORRECTED)
    assert list(found.order_by("pk").values_list("cycle", "detail", "content_run_key")) == [
        (1, "One.", ""),
        (1, "Two.", ""),
        (2, "", ""),
    ]


def test_what_resolves_a_failed_mail_is_complete_and_names_its_address() -> None:
    assignment = given_assignment()
    [claimed] = actions.claim(now=NOW, lease=timedelta(minutes=1), limit=1)
    actions.finish(claimed, Failed(TROUBLE), now=NOW)

    actions.add_outcome([claimed], outcomes.Skipped("skipped_on_request", "By hand."), now=LATER)

    resolution = assignment.actions.get(retry_of=claimed)
    assert (resolution.status, resolution.detail) == (Status.SKIPPED, "By hand.")
    assert (resolution.completed_at, resolution.recipient, resolution.due_at) == (LATER, ALICE, None)


def test_what_was_skipped_is_not_retried() -> None:
    given_assignment()
    [claimed] = actions.claim(now=NOW, lease=timedelta(minutes=1), limit=1)
    actions.finish(claimed, Failed(TROUBLE), now=NOW)
    actions.add_outcome([claimed], outcomes.SKIPPED_ON_REQUEST, now=LATER)

    with pytest.raises(actions.RetryRefused, match=r"^It was skipped\.$"):
        actions.retry(claimed, now=LATER)
