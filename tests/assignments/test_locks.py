"""The rows that each verb locks, in the one order that all of them share: content, money, assignment, action.

SQLite locks its whole file, so what is asserted is that each row is read FOR UPDATE inside a transaction.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from bursary.assignments import (
    acknowledgement,
    actions,
    address_corrections,
    allocation,
    redemption,
    reminders,
    signed_links,
)
from bursary.assignments.account_linking import link_registered_users
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ErrorReason
from bursary.assignments.declining import decline
from bursary.assignments.expiry import expire_due
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import LedgerEntry
from bursary.lib import prepared
from tests.world import ALICE, BOB, NOW, PRICE, allocate, given_assignment, given_user

pytestmark = pytest.mark.django_db

CONTENT, ASSIGNMENT, ACTION = "ContentMetadata", "LearnerContentAssignment", "LearnerContentAssignmentAction"
MONEY = ["Account", "Budget"]


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the models with locked rows, each once, in the order in which that was done first."""
    models: list[str] = []
    fetch, read = QuerySet._fetch_all, prepared._Select.read

    def note(rows: QuerySet[Any]) -> None:
        if rows.query.select_for_update and connection.in_atomic_block:
            name = rows.model.__name__
            models.extend([name] if name not in models else [])

    def noted(rows: QuerySet[Any]) -> None:
        if rows._result_cache is None:
            note(rows)
        fetch(rows)

    def noted_prepared(select: prepared._Select, given: Mapping[str, Any]) -> list[Any]:
        note(select._rows)
        return read(select, given)

    monkeypatch.setattr(QuerySet, "_fetch_all", noted)
    monkeypatch.setattr(prepared._Select, "read", noted_prepared)
    return models


def begin(assignment: LearnerContentAssignment) -> LearnerContentAssignmentAction:
    return redemption.begin(assignment, now=NOW)


def fail_notifying(assignment: LearnerContentAssignment) -> LearnerContentAssignmentAction:
    failure = Failure(ErrorReason.EMAIL_ERROR, "address_rejected", "No.", "")
    notified = assignment.actions.get(action_type=ActionType.NOTIFIED)
    [claimed] = actions.claim(now=NOW, lease=settings.LEASE, limit=1, pks=[notified.pk])
    actions.finish(claimed, Failed(failure), now=NOW)
    return claimed


def test_redemption_locks_the_assignment_when_it_begins(locked: list[str]) -> None:
    assignment = given_assignment()
    locked.clear()
    begin(assignment)
    assert locked == [ASSIGNMENT]


def test_redemption_locks_the_money_and_the_assignment_when_it_spends(locked: list[str]) -> None:
    action = begin(given_assignment())
    locked.clear()
    redemption.fulfil(action, now=NOW)
    assert locked == [*MONEY, ASSIGNMENT]


def test_a_reversal_locks_the_money_and_the_assignment(locked: list[str]) -> None:
    redemption.fulfil(begin(given_assignment()), now=NOW)
    locked.clear()
    redemption.reverse(LedgerEntry.objects.get().uuid, now=NOW)
    assert locked == [*MONEY, ASSIGNMENT]


def test_an_acknowledgement_locks_the_assignments(locked: list[str]) -> None:
    assignment = given_assignment()
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    locked.clear()
    acknowledgement.acknowledge(LearnerContentAssignment.objects.all(), uuids=[assignment.uuid], now=NOW)
    assert locked == [ASSIGNMENT]


Verb = Callable[[LearnerContentAssignment], object]


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        pytest.param(
            lambda one: cancel(one.budget, uuids=[one.uuid], now=NOW), [*MONEY, ASSIGNMENT], id="cancel"
        ),
        pytest.param(lambda one: decline(one, reason="", now=NOW), [*MONEY, ASSIGNMENT], id="decline"),
        pytest.param(lambda one: expire_due(now=one.expires_at), [*MONEY, ASSIGNMENT], id="expire"),
        pytest.param(lambda one: reminders.remind_due(now=one.remind_at), [*MONEY, ASSIGNMENT], id="remind"),
        pytest.param(
            lambda one: reminders.remind(one.budget, uuids=[one.uuid], now=NOW),
            [*MONEY, ASSIGNMENT],
            id="remind on request",
        ),
        pytest.param(
            lambda one: address_corrections.correct_assignment(one, address=BOB, now=NOW),
            [*MONEY, ASSIGNMENT, "LearnerLink"],
            id="correct",
        ),
        pytest.param(
            lambda one: (given_user(email=ALICE, lms_user_id=7), link_registered_users(now=NOW)),
            [*MONEY, ASSIGNMENT],
            id="link",
        ),
        pytest.param(
            lambda one: allocate(one.budget, one.content, ALICE),
            [CONTENT, *MONEY, ASSIGNMENT],
            id="allocate",
        ),
        pytest.param(fail_notifying, [ACTION, ASSIGNMENT], id="claim, then finish"),
    ],
)
def test_each_verb_locks_what_it_decides_about(locked: list[str], verb: Verb, expected: list[str]) -> None:
    assignment = given_assignment()
    locked.clear()
    verb(assignment)
    assert locked == expected


def test_a_preview_locks_nothing(locked: list[str]) -> None:
    assignment = given_assignment()
    locked.clear()
    allocation.preview(
        assignment.budget, content_key=assignment.content_key, price_cents=PRICE, entries=[ALICE], now=NOW
    )
    assert locked == []


def test_a_retry_locks_the_assignment_before_the_action(locked: list[str]) -> None:
    failed = fail_notifying(given_assignment())
    locked.clear()
    actions.retry(failed, now=NOW)
    assert locked == [ASSIGNMENT, ACTION]


def test_requesting_another_link_locks_the_assignment(locked: list[str]) -> None:
    assignment = given_assignment()
    assignment.expires_at = NOW + timedelta(days=3)  # and moved since
    token = signed_links.token_for(assignment, address=ALICE, now=NOW)
    locked.clear()
    signed_links.renew(token, now=NOW + timedelta(days=15))
    assert locked == [ASSIGNMENT]


def test_an_answer_by_a_link_locks_the_money_before_the_assignment(locked: list[str]) -> None:
    assignment = given_assignment()
    token = signed_links.token_for(assignment, address=ALICE, now=NOW)
    locked.clear()
    signed_links.opened_and_locked(token, now=NOW)
    assert locked == [*MONEY, ASSIGNMENT]
