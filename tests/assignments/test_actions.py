"""The timeline's verbs: record, request, finish, retry; and how work is claimed."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import IntegrityError
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from bursary.assignments import actions, redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import APPLIES_IN, WORK, ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Done, Failed, Failure, Postponed, Skipped
from bursary.budgets import ledger
from bursary.lib import leases
from tests.together import together
from tests.world import (
    ALICE,
    BOB,
    NOW,
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

LEASE = timedelta(minutes=2)
TROUBLE = Failure(ErrorReason.INTERNAL_API_ERROR, "mail_server_unreachable", "Nobody answers.", "Traceback…")


def claim_notified(assignment: LearnerContentAssignment) -> LearnerContentAssignmentAction:
    pk = action_of(assignment, ActionType.NOTIFIED).pk
    (claimed,) = actions.claim(now=NOW, lease=LEASE, limit=1, pks=[pk])
    return claimed


def test_a_fact_is_complete_at_once() -> None:
    assignment = given_assignment()
    actions.record([assignment], ActionType.DELIVERED, now=NOW, detail="250 OK")
    fact = action_of(assignment, ActionType.DELIVERED)
    assert (fact.status, fact.created, fact.completed_at, fact.due_at) == (Status.DONE, NOW, NOW, None)


def test_facts_are_recorded_and_work_is_requested_and_not_the_other_way_round() -> None:
    assignment = given_assignment()
    with pytest.raises(ValueError, match="request it"):
        actions.record([assignment], ActionType.NOTIFIED, now=NOW)
    with pytest.raises(ValueError, match="record them"):
        actions.request([assignment], [ActionType.CANCELLED], now=NOW)


@pytest.mark.on_every_engine
def test_one_dedup_key_of_one_kind_of_work_is_requested_once() -> None:
    assignment = given_assignment()
    actions.request([assignment], [ActionType.REMINDED], now=NOW, dedup_key="1")
    actions.request([assignment], [ActionType.REMINDED], now=NOW, dedup_key="2")
    with pytest.raises(IntegrityError):
        actions.request([assignment], [ActionType.REMINDED], now=NOW, dedup_key="2")


@pytest.mark.on_every_engine
def test_requested_work_is_hinted_at_after_commit(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    received: list[int] = []

    def listen(*, pks: list[int], **_signal: object) -> None:
        received.extend(pks)

    actions.requested.connect(listen, sender=LearnerContentAssignmentAction)
    with django_capture_on_commit_callbacks(execute=True):
        assignment = given_assignment()
    pending = assignment.actions.filter(status=Status.PENDING).values_list("pk", flat=True)
    assert sorted(received) == sorted(pending)


@pytest.mark.on_every_engine
def test_a_broken_listener_harms_no_other_assignment(
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    def break_down(**_signal: object) -> None:
        raise RuntimeError("broker away")

    actions.requested.connect(break_down)
    with django_capture_on_commit_callbacks(execute=True):
        assignment = given_assignment()
    assert assignment.actions.filter(status=Status.PENDING).count() == 1


@pytest.mark.on_every_engine
def test_a_claim_takes_a_lease_and_raises_the_fence() -> None:
    claimed = claim_notified(given_assignment())
    stored = LearnerContentAssignmentAction.objects.get(pk=claimed.pk)
    assert (stored.status, stored.fence, stored.attempts) == (Status.RUNNING, 1, 1)
    assert stored.due_at == NOW + LEASE


@pytest.mark.on_every_engine
def test_what_is_claimed_is_not_claimed_again_before_its_lease_ends() -> None:
    claimed = claim_notified(given_assignment())
    again = partial(actions.claim, lease=LEASE, limit=1, pks=[claimed.pk])
    assert again(now=NOW + LEASE - timedelta(seconds=1)) == []
    (taken_over,) = again(now=NOW + LEASE)
    assert (taken_over.fence, taken_over.attempts, taken_over.modified) == (2, 2, NOW + LEASE)


@pytest.mark.on_every_engine
def test_claimed_work_comes_with_its_customer_and_content_but_without_the_payload(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    given_assignment()
    claimed = actions.claim(now=NOW, lease=LEASE, limit=10)
    with django_assert_num_queries(0):
        assert {action.assignment.budget.customer.name for action in claimed} != {""}
        contents = [action.assignment.content for action in claimed]
    assert [content and content.get_deferred_fields() for content in contents] == [{"payload"}]


def test_every_kind_of_work_has_the_states_in_which_it_is_carried_out() -> None:
    assert APPLIES_IN.keys() == WORK


@pytest.mark.on_every_engine
def test_a_late_worker_writes_nothing() -> None:
    assignment = given_assignment()
    late = claim_notified(assignment)
    (second,) = actions.claim(now=NOW + LEASE, lease=LEASE, limit=1, pks=[late.pk])
    assert not actions.finish(late, Failed(TROUBLE), now=NOW + LEASE)
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.RUNNING
    assert actions.finish(second, Done(provider_ref="second"), now=NOW + LEASE)
    assert not actions.finish(late, Failed(TROUBLE), now=NOW + LEASE)
    stored = LearnerContentAssignmentAction.objects.get(pk=late.pk)
    assert (stored.status, stored.provider_ref) == (Status.DONE, "second")


@pytest.mark.on_every_engine
def test_work_that_no_longer_applies_is_superseded_when_it_is_claimed() -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(cycle=2)
    assert actions.claim(now=NOW, lease=LEASE, limit=10) == []
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.SUPERSEDED


def test_work_of_a_forgotten_learner_is_superseded_when_it_is_claimed() -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(forgotten_at=NOW)
    assert actions.claim(now=NOW + LEASE, lease=LEASE, limit=10) == []
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.status, notified.error_code) == (Status.SUPERSEDED, "no_longer_wanted")
    assert (notified.due_at, notified.early, notified.lease_until) == (None, None, None)
    assert notified.modified == NOW + LEASE


def test_failed_work_of_a_forgotten_learner_is_not_retried() -> None:
    assignment = given_assignment()
    failed = claim_notified(assignment)
    actions.finish(failed, Failed(TROUBLE), now=NOW)
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(forgotten_at=NOW)
    with pytest.raises(actions.RetryRefused, match="moved on"):
        actions.retry(failed, now=NOW)


def test_a_running_action_is_finished_though_the_assignment_moved_on() -> None:
    assignment = given_assignment()
    actions.request([assignment], [ActionType.NUDGED], now=NOW)
    running = claim_notified(assignment)
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    assert actions.finish(running, Done(), now=NOW)
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.DONE
    assert action_of(assignment, ActionType.NUDGED).status == Status.SUPERSEDED


def test_a_late_worker_that_failed_does_not_release_the_hold_of_a_redemption() -> None:
    assignment = given_assignment()
    pk = redemption.begin(assignment, now=NOW).pk
    (late,) = actions.claim(now=NOW, lease=LEASE, limit=1, pks=[pk])
    actions.claim(now=NOW + LEASE, lease=LEASE, limit=1, pks=[pk])
    assert not actions.finish(late, Failed(TROUBLE), now=NOW + LEASE)
    assignment.refresh_from_db()
    assert assignment.redeeming_since == NOW


def test_a_finished_action_stays_finished_though_it_was_scheduled_meanwhile() -> None:
    assignment = given_assignment()
    running = claim_notified(assignment)
    leases.schedule(LearnerContentAssignmentAction.objects.filter(pk=running.pk), at=NOW, now=NOW)
    assert actions.finish(running, Done(), now=NOW)
    assert action_of(assignment, ActionType.NOTIFIED).due_at is None


def test_superseded_work_stays_so_though_it_was_scheduled_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    assignment, still_applies = given_assignment(), actions.still_applies

    def scheduled_meanwhile(action: LearnerContentAssignmentAction) -> bool:
        leases.schedule(LearnerContentAssignmentAction.objects.filter(pk=action.pk), at=NOW, now=NOW)
        return still_applies(action)

    monkeypatch.setattr(actions, "still_applies", scheduled_meanwhile)
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(forgotten_at=NOW)
    assert actions.claim(now=NOW, lease=LEASE, limit=10) == []
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.status, notified.due_at, notified.early) == (Status.SUPERSEDED, None, None)


def test_superseding_and_redirecting_leave_other_assignments_alone() -> None:
    mine, other = given_assignment(), given_assignment()
    actions.request([mine, other], [ActionType.NUDGED], now=NOW)
    later = NOW + LEASE
    actions.supersede([mine.pk], [ActionType.NOTIFIED], now=later, error_code="cancelled")
    mine.learner_email = BOB
    actions.readdress(mine, now=later)
    superseded, nudged = (action_of(mine, kind) for kind in (ActionType.NOTIFIED, ActionType.NUDGED))
    assert (superseded.status, superseded.modified) == (Status.SUPERSEDED, later)
    assert (nudged.status, nudged.recipient, nudged.modified) == (Status.PENDING, BOB, later)
    untouched = other.actions.filter(action_type__in=[ActionType.NOTIFIED, ActionType.NUDGED])
    assert set(untouched.values_list("status", "recipient")) == {(Status.PENDING, ALICE)}


def test_facts_and_work_keep_their_actor_their_key_and_their_detail() -> None:
    assignment, ada = given_assignment(), given_user()
    actions.record([assignment], ActionType.DELIVERED, now=NOW)
    actions.record([assignment], ActionType.BOUNCED, now=NOW, actor=ada, dedup_key="2", detail="550")
    actions.request([assignment], [ActionType.NUDGED], now=NOW)
    actions.request([assignment], [ActionType.REMINDED], now=NOW, actor=ada, dedup_key="day-3")
    rows = assignment.actions.order_by("pk").values_list("action_type", "actor", "dedup_key", "detail")
    assert list(rows)[-4:] == [
        ("delivered", None, "", ""),
        ("bounced", ada.pk, "2", "550"),
        ("nudged", None, "", ""),
        ("reminded", ada.pk, "day-3", ""),
    ]


def test_a_new_allocation_supersedes_the_mail_about_the_cancellation_before_it() -> None:
    assignment = given_assignment()
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    notice = action_of(assignment, ActionType.CANCELLATION_NOTIFIED)
    allocate(assignment.budget, assignment.content, assignment.learner_email)  # type: ignore[arg-type]  # has one
    notice.refresh_from_db()
    assert (notice.status, notice.error_code) == (Status.SUPERSEDED, ActionType.ALLOCATED)
    assert (notice.due_at, notice.early) == (None, None)


def test_a_reversal_supersedes_the_nudge() -> None:
    assignment = given_assignment()
    redemption.begin(assignment, now=NOW)
    deliver()
    assignment.refresh_from_db()
    actions.request([assignment], [ActionType.NUDGED], now=NOW)
    assert assignment.transaction_uuid
    redemption.reverse(assignment.transaction_uuid, now=NOW)
    nudge = action_of(assignment, ActionType.NUDGED)
    assert (nudge.status, nudge.error_code) == (Status.SUPERSEDED, ActionType.REVERSED)


def test_finishing_with_success_completes_and_keeps_what_was_sent() -> None:
    assignment = given_assignment()
    later = NOW + timedelta(minutes=1)
    actions.finish(claim_notified(assignment), Done("ref", {"subject": "Hello"}), now=later)
    stored = action_of(assignment, ActionType.NOTIFIED)
    assert (stored.status, stored.completed_at, stored.due_at) == (Status.DONE, later, None)
    assert stored.modified == later
    assert (stored.provider_ref, stored.payload) == ("ref", {"subject": "Hello"})
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.WAITING


def test_a_postponed_attempt_is_logged_and_shows_no_error_yet() -> None:
    assignment, until = given_assignment(), NOW + timedelta(minutes=5)
    actions.finish(claim_notified(assignment), Postponed(TROUBLE, until), now=NOW)
    stored = action_of(assignment, ActionType.NOTIFIED)
    assert (stored.status, stored.due_at, stored.completed_at) == (Status.PENDING, until, None)
    assert (stored.error_reason, stored.traceback) == ("", "")
    assert stored.attempt_log == [
        {
            "at": NOW.isoformat(),
            "attempt": 1,
            "cause": TROUBLE.error_code,
            "detail": TROUBLE.detail,
            "traceback": TROUBLE.traceback,
        }
    ]


def test_a_paid_redemption_is_tried_again_half_an_hour_after_what_would_be_its_last_failure() -> None:
    assignment = given_assignment()
    pk = redemption.begin(assignment, now=NOW).pk
    ledger.spend(assignment.budget, cents=PRICE, key=assignment.ledger_key, now=NOW)
    (claimed,) = actions.claim(now=NOW, lease=LEASE, limit=1, pks=[pk])
    assert actions.finish(claimed, Failed(TROUBLE), now=NOW)
    stored = action_of(assignment, ActionType.REDEEMED)
    assert (stored.status, stored.due_at) == (Status.PENDING, NOW + timedelta(minutes=30))


@pytest.mark.on_every_engine
def test_the_last_ten_attempts_are_kept() -> None:
    assignment = given_assignment()
    for attempt in range(12):
        now = NOW + timedelta(hours=attempt)
        pk = action_of(assignment, ActionType.NOTIFIED).pk
        (claimed,) = actions.claim(now=now, lease=LEASE, limit=1, pks=[pk])
        actions.finish(claimed, Postponed(TROUBLE, now + timedelta(minutes=1)), now=now)
    log = action_of(assignment, ActionType.NOTIFIED).attempt_log
    assert [entry["attempt"] for entry in log] == list(range(3, 13))


def test_a_final_failure_says_when_and_why() -> None:
    assignment = given_assignment()
    actions.finish(claim_notified(assignment), Failed(TROUBLE), now=NOW)
    stored = action_of(assignment, ActionType.NOTIFIED)
    assert (stored.status, stored.completed_at, stored.due_at) == (Status.FAILED, NOW, None)
    assert (stored.error_reason, stored.error_code) == (ErrorReason.INTERNAL_API_ERROR, TROUBLE.error_code)
    assert (stored.detail, stored.traceback) == (TROUBLE.detail, TROUBLE.traceback)
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.FAILED


@pytest.mark.on_every_engine
def test_an_error_text_that_no_database_stores_is_stored_without_what_breaks_it() -> None:
    assignment = given_assignment()
    failure = Failure(ErrorReason.EMAIL_ERROR, "address_rejected", "no \0 \ud800 text", "trace \0 \udfff")
    assert actions.finish(claim_notified(assignment), Failed(failure), now=NOW)
    stored = action_of(assignment, ActionType.NOTIFIED)
    assert (stored.status, stored.detail) == (Status.FAILED, "no \ufffd \ufffd text")
    assert stored.traceback == "trace \ufffd \ufffd"


def test_skipped_work_says_why_and_is_no_failure() -> None:
    assignment = given_assignment()
    actions.finish(claim_notified(assignment), Skipped("quiet_hours", "It is night."), now=NOW)
    stored = action_of(assignment, ActionType.NOTIFIED)
    assert (stored.status, stored.error_code, stored.error_reason) == (Status.SKIPPED, "quiet_hours", "")


def test_a_retry_is_a_new_row_that_points_to_the_old() -> None:
    assignment = given_assignment()
    actions.finish(claim_notified(assignment), Failed(TROUBLE), now=NOW)
    failed = action_of(assignment, ActionType.NOTIFIED)
    again = actions.retry(failed, now=NOW + LEASE)
    assert (again.status, again.retry_of, again.dedup_key) == (Status.PENDING, failed, "retry-1")
    assert (again.recipient, again.attempts) == (ALICE, 0)
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.NOTIFYING
    failed.refresh_from_db()
    assert failed.status == Status.FAILED


def test_a_retry_of_a_retry_has_a_dedup_key_of_its_own() -> None:
    assignment = given_assignment()
    for number in (1, 2):
        pk = action_of(assignment, ActionType.NOTIFIED).pk
        (claimed,) = actions.claim(now=NOW, lease=LEASE, limit=1, pks=[pk])
        actions.finish(claimed, Failed(TROUBLE), now=NOW)
        again = actions.retry(action_of(assignment, ActionType.NOTIFIED), now=NOW)
        assert again.dedup_key == f"retry-{number}"


def test_a_retry_keeps_what_makes_its_kind_of_work_unique() -> None:
    assignment = given_assignment()
    actions.request([assignment], [ActionType.REMINDED], now=NOW, dedup_key="day-3")
    for number in (1, 2):
        pk = action_of(assignment, ActionType.REMINDED).pk
        (claimed,) = actions.claim(now=NOW, lease=LEASE, limit=1, pks=[pk])
        actions.finish(claimed, Failed(TROUBLE), now=NOW)
        assert actions.retry(claimed, now=NOW).dedup_key == f"day-3retry-{number}"


def test_what_did_not_fail_or_was_retried_or_moved_on_is_not_retried() -> None:
    claimed = claim_notified(given_assignment())
    with pytest.raises(actions.RetryRefused, match=r"^Only what failed can be retried\.$"):
        actions.retry(claimed, now=NOW)
    actions.finish(claimed, Failed(TROUBLE), now=NOW)
    actions.retry(claimed, now=NOW)
    with pytest.raises(actions.RetryRefused, match=r"^It was retried already\.$"):
        actions.retry(claimed, now=NOW)
    other = given_assignment()
    claimed = claim_notified(other)
    actions.finish(claimed, Failed(TROUBLE), now=NOW)
    cancel(other.budget, uuids=[other.uuid], now=NOW)
    moved_on = r"^The assignment has moved on; this does not apply any more\.$"
    with pytest.raises(actions.RetryRefused, match=moved_on):
        actions.retry(claimed, now=NOW)


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_claimers_at_once_get_disjoint_rows() -> None:
    allocate(given_budget(), given_content(), *addresses(120))  # more than all can lock
    claims = together([partial(actions.claim, now=NOW, lease=LEASE, limit=20)] * 4)
    claimed = [row.pk for rows in claims if isinstance(rows, list) for row in rows]
    assert len(claimed) == len(set(claimed)) == 80
