"""Cancelling: the money is free at once, the learner is notified, and every id is answered for."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.assignments import sweeps
from bursary.assignments.cancellation import cancel, cancel_all
from bursary.assignments.choices import ActionType, LearnerState, State, Status
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Account, Budget
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    PRICE,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(days=1)


def test_the_money_is_free_at_once_and_the_learner_is_notified(mail: MailServer) -> None:
    ada = given_user()
    assignment = given_assignment()
    deliver()
    done = cancel(assignment.budget, uuids=[assignment.uuid], now=LATER, actor=ada)
    assert done.cancelled == [assignment]
    assert Budget.objects.get().reserved_cents == Account.objects.get().reserved_cents == 0
    deliver(now=LATER)
    assert [message["To"] for message in mail.received] == [ALICE, ALICE]
    assert mail.received[1]["Subject"].strip() == "Larkspur Logistics has cancelled “Tidal Engines”"
    assert timeline(assignment)[-2:] == [
        (ActionType.CANCELLED, Status.DONE),
        (ActionType.CANCELLATION_NOTIFIED, Status.DONE),
    ]
    stored = LearnerContentAssignment.objects.get()
    assert (stored.state, stored.learner_state) == (State.CANCELLED, LearnerState.NONE)
    assert {row.actor for row in stored.actions.filter(created=LATER)} == {ada}


def test_a_learner_never_notified_is_not_notified_of_the_end(mail: MailServer) -> None:
    assignment = given_assignment()
    cancel(assignment.budget, uuids=[assignment.uuid], now=LATER)
    deliver(now=LATER)
    assert mail.received == []
    skipped = assignment.actions.get(action_type=ActionType.CANCELLATION_NOTIFIED)
    assert (skipped.status, skipped.error_code) == (Status.SKIPPED, "never_notified")


def test_every_id_is_answered_for() -> None:
    budget, content = given_budget(), given_content()
    alice, bob, carol = allocate(budget, content, ALICE, BOB, CAROL).assignments(Verdict.NEW)
    cancel(budget, uuids=[alice.uuid], now=NOW)
    LearnerContentAssignment.objects.filter(pk=bob.pk).update(redeeming_since=NOW)
    nobody = uuid.uuid4()

    done = cancel(budget, uuids=[alice.uuid, bob.uuid, carol.uuid, nobody, carol.uuid], now=LATER)

    assert (done.cancelled, done.unchanged) == ([carol], [alice])
    assert done.refused == {bob.uuid: "being redeemed", nobody: "unknown"}
    assert Budget.objects.get().reserved_cents == PRICE


def test_cancelling_again_does_no_harm() -> None:
    assignment = given_assignment()
    for _repeat in range(2):
        cancel(assignment.budget, uuids=[assignment.uuid], now=LATER)
    assert assignment.actions.filter(action_type=ActionType.CANCELLED).count() == 1
    assert Budget.objects.get().reserved_cents == 0


def test_another_budgets_assignment_is_unknown() -> None:
    assignment = given_assignment()
    done = cancel(given_budget(), uuids=[assignment.uuid], now=LATER)
    assert done.refused == {assignment.uuid: "unknown"}


@pytest.mark.needs_row_locks  # SQLite takes fewer rows in a statement
def test_cancelling_many_takes_as_many_queries_as_cancelling_few() -> None:
    budget, content = given_budget(), given_content()
    counts = []
    for count in (5, 100):
        made = allocate(budget, content, *addresses(count, start=count)).assignments(Verdict.NEW)
        with CaptureQueriesContext(connection) as queries:
            cancel(budget, uuids=[one.uuid for one in made], now=LATER)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 12


def test_cancelling_all_names_its_actor_and_leaves_other_budgets_and_what_has_ended_as_they_are() -> None:
    ended = given_assignment()
    cancel(ended.budget, uuids=[ended.uuid], now=NOW)
    [open_one] = allocate(ended.budget, given_content(), BOB).assignments(Verdict.NEW)
    given_assignment(address=CAROL)
    administrator = given_user()

    uuids = list(LearnerContentAssignment.objects.values_list("uuid", flat=True))
    done = cancel_all(ended.budget, uuids=uuids, now=LATER, actor=administrator)

    assert (done.cancelled, done.unchanged, done.refused) == ([open_one], [], {})
    assert open_one.actions.get(action_type=ActionType.CANCELLED).actor == administrator


def test_cancelling_all_answers_for_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, content = given_budget(), given_content()
    made = allocate(budget, content, *addresses(6)).assignments(Verdict.NEW)
    uuids = [one.uuid for one in made]
    LearnerContentAssignment.objects.filter(uuid__in=uuids[:2]).update(redeeming_since=NOW)
    batches = [uuids[::2], uuids[1::2]]  # one that is being redeemed, one cancelled meanwhile and one open
    monkeypatch.setattr(sweeps, "uuid_batches", lambda _rows, *, among: batches)
    cancel(budget, uuids=uuids[2:4], now=NOW)

    done = cancel_all(budget, uuids=uuids, now=LATER)

    assert list(done.refused) == uuids[:2]
    assert [one.uuid for one in done.unchanged] == uuids[2:4]
    assert [one.uuid for one in done.cancelled] == uuids[4:]
