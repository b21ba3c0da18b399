"""What an allocation and a preview return, and what they record."""

import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection

from bursary.access.models import learner_key
from bursary.assignments import allocation, allocation_batches, declining
from bursary.assignments.allocation_batches import MailsPlanned
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, LearnerState
from bursary.assignments.matching import Verdict
from bursary.assignments.models import (
    AllocationBatch,
    LearnerContentAssignment,
    LearnerContentAssignmentAction,
)
from bursary.budgets.models import Budget
from bursary.replica.joining import JoiningTerms
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    action_of,
    allocate,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db


def test_an_allocation_returns_its_content() -> None:
    content = given_content()
    assert allocate(given_budget(), content, ALICE).content == content


def test_an_allocation_returns_the_run_that_can_be_joined_and_until_when() -> None:
    budget, content = given_budget(), given_content(enroll_by=NOW + timedelta(days=40))
    terms = JoiningTerms(content.advertised_run, PRICE, NOW + timedelta(days=40))
    seen = allocation.preview(
        budget, content_key=content.content_key, price_cents=PRICE, entries=[ALICE], now=NOW
    )
    assert (seen.terms, allocate(budget, content, ALICE).terms) == (terms, terms)


def test_a_first_assignment_has_the_lms_user_id_of_the_learners_account() -> None:
    given_user(email=ALICE, lms_user_id=7)
    made = allocate(given_budget(), given_content(), ALICE, BOB).assignments(Verdict.NEW)
    assert [type(one).objects.get(pk=one.pk).lms_user_id for one in made] == [7, None]


def test_an_allocation_is_a_fact_without_a_detail() -> None:
    (one,) = allocate(given_budget(), given_content(), ALICE).assignments(Verdict.NEW)
    assert action_of(one, ActionType.ALLOCATED).detail == ""


@pytest.mark.on_every_engine
def test_where_a_bulk_insert_returns_no_keys_each_assignment_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MySQL returns none."""
    monkeypatch.setattr(type(connection.features), "can_return_rows_from_bulk_insert", False)

    done = allocate(given_budget(), given_content(), ALICE, BOB).assignments(Verdict.NEW)

    assert [one.pk for one in done] == [type(one).objects.get(uuid=one.uuid).pk for one in done]
    assert [one.learner_email for one in done] == [ALICE, BOB]
    assert [one.actions.count() for one in done] == [3, 3]


@pytest.mark.usefixtures("empty_catalog")
def test_a_preview_of_content_that_is_in_no_catalog_has_no_deadline() -> None:
    content = given_content(catalog=uuid.uuid4())
    seen = allocation.preview(
        given_budget(), content_key=content.content_key, price_cents=PRICE, entries=[ALICE], now=NOW
    )
    assert [one.reason for one in seen.refusals] == ["content_not_in_catalog"]

    seen = allocation.preview(
        given_budget(), content_key="not a key", price_cents=PRICE, entries=[ALICE], now=NOW
    )
    assert (seen.deadline, seen.deadline_reason) == (None, "")


def test_what_is_allocated_again_to_another_address_of_the_learner_names_its_actor() -> None:
    budget, content, ada = given_budget(), given_content(), given_user()
    learner = given_user(email=ALICE, lms_user_id=7)
    (old,) = allocate(budget, content, ALICE).assignments(Verdict.NEW)
    cancel(budget, uuids=[old.uuid], now=NOW)
    learner.email = BOB
    learner.save()

    (again,) = allocate(Budget.objects.get(), content, BOB, actor=ada).assignments(Verdict.REALLOCATED)

    assert (again.pk, again.learner_email) == (old.pk, BOB)
    assert action_of(again, ActionType.EMAIL_CORRECTED).actor == ada


def test_a_batch_keeps_what_it_left_unchanged_by_verdict_without_an_address() -> None:
    budget, content = given_budget(), given_content()
    first = allocate(budget, content, ALICE, BOB)
    declining.decline(first.assignments(Verdict.NEW)[1], reason="", now=NOW)
    again = allocate(budget, content, BOB, ALICE, "new@learners.example", ALICE.upper())
    alices, bobs = (one.pk for one in first.assignments(Verdict.NEW))
    kept = AllocationBatch.objects.get(uuid=again.batch.uuid)
    assert kept.unchanged == {"declined_before": [bobs], "already_assigned": [alices]}
    assert AllocationBatch.objects.get(uuid=first.batch.uuid).unchanged == {}
    assert [one.verdict for one in allocation_batches.left_unchanged(kept, start=0, size=9)] == [
        *(Verdict.DECLINED, Verdict.ALREADY_ASSIGNED)
    ]
    assert len(allocation_batches.left_unchanged(kept, start=1, size=1)) == 1


@pytest.mark.on_every_engine
def test_what_a_batch_allocates_again_is_not_among_what_it_left_unchanged() -> None:
    budget, content = given_budget(), given_content()
    [assignment] = allocate(budget, content, ALICE).assignments(Verdict.NEW)
    cancel(budget, uuids=[assignment.uuid], now=NOW)
    assert allocate(budget, content, ALICE).batch.unchanged == {}


def test_a_batch_keeps_its_message_and_counts_its_addresses_by_verdict() -> None:
    budget, content = given_budget(), given_content()
    first = allocate(budget, content, ALICE).batch
    second = allocate(budget, content, ALICE, BOB, BOB.upper(), CAROL, message="Dear all, decide.").batch
    kept = AllocationBatch.objects.in_bulk([first.uuid, second.uuid], field_name="uuid")
    assert (kept[first.uuid].message, kept[first.uuid].counts) == ("", {"new": 1})
    assert kept[second.uuid].message == "Dear all, decide."
    assert kept[second.uuid].counts == {"already_assigned": 1, "new": 2, "duplicate": 1}


@pytest.mark.on_every_engine
def test_a_request_with_a_name_in_use_allocates_nothing() -> None:
    budget, content = given_budget(), given_content()
    made = allocate(budget, content, ALICE)
    with pytest.raises(IntegrityError):
        allocate(budget, content, BOB, batch_uuid=made.batch.uuid)
    assert [one.learner_email for one in LearnerContentAssignment.objects.all()] == [ALICE]
    budget.refresh_from_db()
    assert budget.reserved_cents == PRICE


def test_how_long_mails_take_is_that_of_the_last_one_and_counts_those_tried_again() -> None:
    budget, content = given_budget(), given_content()
    batch = allocate(budget, content, ALICE, BOB, now=NOW).batch
    later = NOW + timedelta(hours=1)
    assert allocation_batches.mails_planned(batch).retried == 0
    LearnerContentAssignmentAction.objects.filter(
        assignment__learner_email=BOB, action_type=ActionType.NOTIFIED
    ).update(attempts=2, due_at=later)
    assert allocation_batches.mails_planned(batch) == MailsPlanned(retried=1, until=later)
    LearnerContentAssignment.objects.update(learner_state=LearnerState.WAITING)
    assert allocation_batches.mails_planned(batch) == MailsPlanned(retried=0, until=None)


def test_a_new_assignment_has_the_key_of_its_mailbox() -> None:
    allocate(given_budget(), given_content(), ALICE)
    assignment = LearnerContentAssignment.objects.get()
    assert assignment.mailbox_key == assignment.learner_key == learner_key(ALICE)
