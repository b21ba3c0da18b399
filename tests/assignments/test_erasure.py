"""Privacy: personal data is removed; what happened stays."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.access.models import LearnerLink, learner_key
from bursary.assignments import actions, address_corrections, erasure, expiry, outcomes, reminders, sweeps
from bursary.assignments.actions import RetryRefused
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.sweeps import SweepResult
from bursary.budgets.models import Budget
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
    timeline,
    words_of,
)
from tests.world import addresses as made_up

pytestmark = pytest.mark.django_db

OVER = NOW + timedelta(days=90)


def no_files(_actions: Sequence[UUID]) -> int:
    return 0


def sweep(*, days_later: int = 0, **more: Any) -> SweepResult:
    return erasure.forget_due(now=OVER + timedelta(days=days_later), remove=no_files, **more)[0]


def given_expired(*learners: str, budget: Budget | None = None) -> list[LearnerContentAssignment]:
    """Return assignments that are over, with a mail about it to each learner."""
    done = allocate(budget or given_budget(), given_content(), *learners or (ALICE,))
    deliver()
    expiry.expire_due(now=OVER)
    deliver(now=OVER)
    return done.assignments(Verdict.NEW)


@pytest.mark.on_every_engine
def test_a_learner_notified_of_the_expiry_is_erased_and_what_happened_stays(mail: MailServer) -> None:
    (assignment,) = given_expired("Alice@Learners.example")
    before = timeline(assignment)
    assert sweep().done == 1
    assignment.refresh_from_db()
    assert assignment.learner_email.startswith("forgotten-")
    assert assignment.learner_email.endswith("@forgotten.invalid")
    assert assignment.learner_key == learner_key(assignment.learner_email)
    assert (assignment.state, assignment.forgotten_at) == (State.EXPIRED, OVER)
    assert timeline(assignment) == before
    assert "alice" not in words_of(assignment)
    assert learner_key(ALICE) not in words_of(assignment)
    notified = action_of(assignment, ActionType.NOTIFIED)
    assert (notified.payload, notified.recipient, notified.completed_at) == ({}, "", NOW)
    assert not LearnerLink.objects.exists()


def test_a_failure_keeps_its_code_and_loses_its_words(mail: MailServer) -> None:
    mail.refuses.add(ALICE)
    (assignment,) = given_expired()
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert ALICE in failed.traceback
    sweep()
    failed.refresh_from_db()
    assert (failed.status, failed.error_reason, failed.error_code) == (
        Status.FAILED,
        "email_error",
        "address_rejected",
    )
    assert (failed.detail, failed.traceback, failed.attempt_log) == ("", "", [])


def test_a_providers_name_for_a_mail_is_erased_only_if_it_holds_the_address(mail: MailServer) -> None:
    (assignment,) = given_expired()
    linked = action_of(assignment, ActionType.LEARNER_LINKED)
    assignment.actions.filter(action_type=ActionType.NOTIFIED).update(provider_ref=f"queued-for-{ALICE}")
    sweep()
    assert action_of(assignment, ActionType.NOTIFIED).provider_ref == ""
    assert action_of(assignment, ActionType.LEARNER_LINKED).provider_ref == linked.provider_ref != ""


def test_forgetting_again_changes_nothing(mail: MailServer) -> None:
    (assignment,) = given_expired()
    sweep()
    before = words_of(assignment)
    assert sweep(days_later=40).done == 0
    assert words_of(assignment) == before


@pytest.mark.on_every_engine
def test_two_learners_of_one_course_and_budget_do_not_collide(mail: MailServer) -> None:
    given_expired(ALICE, BOB, CAROL)
    assert sweep() == SweepResult(done=3)
    assert LearnerContentAssignment.objects.values("learner_key").distinct().count() == 3


def test_a_pending_notice_of_the_expiry_is_waited_for(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    expiry.expire_due(now=OVER)
    assert erasure.to_erase(OVER).count() == sweep().done == 0
    mail.go()
    deliver(now=OVER)
    assert sweep(days_later=29).done == 0
    assert erasure.to_erase(OVER + timedelta(days=30)).count() == sweep(days_later=30).done == 1
    notice = action_of(assignment, ActionType.EXPIRATION_NOTIFIED)
    assert (notice.status, notice.error_code, notice.due_at) == (Status.SUPERSEDED, "forgotten", None)
    assert "alice" not in words_of(assignment)


@pytest.mark.on_every_engine
def test_what_is_being_sent_is_waited_for_even_after_thirty_days(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    expiry.expire_due(now=OVER)
    later = OVER + timedelta(days=31)
    (claimed,) = actions.claim(now=later, lease=timedelta(minutes=4), limit=1)
    assert erasure.forget_due(now=later, remove=no_files)[0].done == 0
    after_the_lease = later + timedelta(minutes=5)
    assert erasure.forget_due(now=after_the_lease, remove=no_files)[0].done == 1
    assert not actions.finish(claimed, outcomes.Done(payload={"text": ALICE}), now=after_the_lease)
    assert "alice" not in words_of(assignment)


def test_mails_are_removed_before_the_rows_change_so_that_a_crash_is_repaired(mail: MailServer) -> None:
    (assignment,) = given_expired()

    def crash(asked: Sequence[UUID]) -> int:
        assert action_of(assignment, ActionType.NOTIFIED).uuid in asked
        raise OSError("Gone.")

    done, _mails = erasure.forget_due(now=OVER, remove=crash)
    assert (done.done, list(done.failed.values())) == (0, ["OSError: Gone."])
    assert "alice" in words_of(assignment)
    assert sweep().done == 1


@pytest.mark.on_every_engine
def test_a_budget_that_fails_stops_no_other(mail: MailServer) -> None:
    (broken,), (healthy,) = given_expired(ALICE), given_expired(BOB)
    poisoned = action_of(broken, ActionType.NOTIFIED).uuid

    def refuse(asked: Sequence[UUID]) -> int:
        if poisoned in asked:
            raise OSError("Disk error.")
        return 0

    done, _mails = erasure.forget_due(now=OVER, remove=refuse)
    assert (done.done, set(done.failed)) == (1, {str(broken.budget.uuid)})
    assert "bob" not in words_of(healthy)


@pytest.mark.on_every_engine
def test_many_are_forgotten_in_batches_and_none_is_left_out(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "BATCH", 3)
    given_expired(*made_up(8))
    steps: list[int] = []
    assert sweep(on_progress=steps.append).done == 8
    assert steps == [3, 6, 8]
    assert not LearnerContentAssignment.objects.filter(learner_email__contains="learners.example").exists()


def test_a_batch_takes_as_many_queries_for_many_as_for_few(mail: MailServer) -> None:
    counts = []
    for number, many in enumerate((2, 12)):
        given_expired(*made_up(many, start=100 * number))
        with CaptureQueriesContext(connection) as queries:
            sweep()
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_another_customers_rows_of_the_same_address_stay(mail: MailServer) -> None:
    given_expired()
    elsewhere = given_assignment(given_budget(customer=given_customer()))
    deliver()
    sweep()
    elsewhere.refresh_from_db()
    assert elsewhere.learner_email == ALICE
    assert [link.customer_id for link in LearnerLink.objects.all()] == [elsewhere.budget.customer_id]


@pytest.mark.on_every_engine
def test_the_link_stays_while_the_customer_has_something_else_for_the_address(mail: MailServer) -> None:
    budget = given_budget()
    given_expired(budget=budget)
    given_assignment(budget)
    sweep()
    assert LearnerLink.objects.get().learner_email == ALICE


@pytest.mark.on_every_engine
def test_an_address_that_was_corrected_before_goes_as_well(mail: MailServer) -> None:
    assignment = given_assignment(address="alcie@learners.example")
    deliver()
    address_corrections.correct_assignment(assignment, address=ALICE, now=NOW)
    deliver()
    expiry.expire_due(now=OVER)
    deliver(now=OVER)
    sweep()
    assert "alcie" not in words_of(assignment)
    assert not LearnerLink.objects.exists()


def test_nothing_is_sent_or_retried_for_an_erased_learner(mail: MailServer) -> None:
    mail.refuses.add(ALICE)
    (assignment,) = given_expired()
    sweep()
    with pytest.raises(RetryRefused):
        actions.retry(action_of(assignment, ActionType.NOTIFIED), now=OVER)


def test_open_work_of_a_forgotten_learner_is_superseded_when_it_is_claimed() -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(forgotten_at=NOW)
    assert actions.claim(now=NOW, lease=timedelta(minutes=5), limit=10) == []
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.SUPERSEDED


def test_a_forgotten_learner_without_an_account_gets_a_new_assignment(mail: MailServer) -> None:
    (forgotten,) = given_expired()
    sweep()
    budget, content = forgotten.budget, forgotten.content
    assert content is not None
    (again,) = allocate(budget, content, ALICE, now=OVER).assignments(Verdict.NEW)
    assert again.pk != forgotten.pk
    assert again.forgotten_at is None


def test_a_forgotten_learner_with_an_account_gets_the_old_one_back(mail: MailServer) -> None:
    given_user(email=ALICE, lms_user_id=7)
    (forgotten,) = given_expired()
    sweep()
    forgotten.refresh_from_db()
    assert forgotten.lms_user_id == 7
    assert forgotten.content is not None
    done = allocate(forgotten.budget, forgotten.content, ALICE, now=OVER)
    (again,) = done.assignments(Verdict.REALLOCATED)
    again.refresh_from_db()
    assert (again.pk, again.learner_email, again.forgotten_at) == (forgotten.pk, ALICE, None)
    assert not done.matches[0].known_by_other_address
    deliver(now=OVER)
    assert mail.received[-1]["To"] == ALICE


def test_a_forgotten_learner_is_not_nudged_where_the_start_moves() -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(nudge_at=NOW, content_start=NOW + timedelta(days=7))
    assert reminders.to_nudge(NOW).get() == assignment

    LearnerContentAssignment.objects.update(forgotten_at=NOW)

    assert not reminders.to_nudge(NOW).exists()
