"""Redemption: hold, spend, move; once, whatever breaks off in between."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from threading import Barrier

import pytest
from django.conf import settings

from bursary.assignments import actions, expiry, lifecycle, redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ErrorReason, LearnerState, State, Status
from bursary.assignments.lifecycle import MoveRefused
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.redemption import RedemptionRefused
from bursary.budgets import ledger
from bursary.budgets.ledger import LedgerError
from bursary.budgets.models import Account, Budget, LedgerEntry, LedgerEntryState
from bursary.delivery import runner
from bursary.lib import leases
from tests.together import together
from tests.world import (
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
    timeline,
)

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]

LATER = NOW + timedelta(hours=1)
MORE_THAN_ATTEMPTED = runner.MAX_ATTEMPTS + 5


class Crash(BaseException):
    """The process dies here."""


def refuse(*_args: object, **_more: object) -> None:
    raise LedgerError("The books are closed.")


def redeemed(assignment: LearnerContentAssignment) -> LearnerContentAssignment:
    action = redemption.begin(assignment, now=NOW)
    runner.drain(clock=lambda: NOW, limit=1, pks=[action.pk])
    assignment.refresh_from_db()
    return assignment


def spent_once_and_accepted() -> None:
    """Assert that money and state agree: one transaction, nothing held, accepted."""
    assignment, budget, spent = (
        LearnerContentAssignment.objects.get(),
        Budget.objects.get(),
        LedgerEntry.objects.get(),
    )
    assert (assignment.state, assignment.redeeming_since) == (State.ACCEPTED, None)
    assert assignment.transaction_uuid == spent.uuid
    assert (budget.reserved_cents, budget.spent_cents) == (0, PRICE)
    account = Account.objects.get()
    assert (account.reserved_cents, account.spent_cents) == (0, PRICE)


@pytest.mark.on_every_engine
def test_a_learner_accepts_and_the_money_is_spent() -> None:
    assignment = redeemed(given_assignment())
    spent_once_and_accepted()
    assert (assignment.accepted_at, assignment.learner_state) == (NOW, LearnerState.NONE)
    assert action_of(assignment, ActionType.REDEEMED).provider_ref == str(LedgerEntry.objects.get().uuid)
    assert timeline(assignment) == [
        (ActionType.ALLOCATED, Status.DONE),
        (ActionType.LEARNER_LINKED, Status.DONE),
        (ActionType.NOTIFIED, Status.SUPERSEDED),
        (ActionType.REDEEMED, Status.DONE),
    ]


def test_taking_it_up_again_changes_nothing() -> None:
    assignment = redeemed(given_assignment())
    again = redemption.begin(assignment, now=LATER)
    assert again.status == Status.DONE
    spent_once_and_accepted()


def test_while_it_is_being_redeemed_nothing_else_moves_it() -> None:
    assignment = given_assignment()
    redemption.begin(assignment, now=NOW)
    assert cancel(assignment.budget, uuids=[assignment.uuid], now=NOW).refused == {
        assignment.uuid: "being redeemed"
    }
    assert expiry.expire_due(now=NOW + timedelta(days=90)).done == 0
    deliver(now=NOW + timedelta(days=90))
    spent_once_and_accepted()


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.CANCELLED, "reason_learner_assignment_cancelled"),
        (State.EXPIRED, "reason_learner_assignment_expired"),
        (State.REVERSED, "reason_learner_assignment_reversed"),
    ],
)
def test_what_is_not_open_is_refused_with_the_clients_reason(state: State, reason: str) -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(state=state)
    with pytest.raises(RedemptionRefused) as refused:
        redemption.begin(assignment, now=NOW)
    assert refused.value.reason == reason
    assert not assignment.actions.filter(action_type=ActionType.REDEEMED).exists()


def test_what_began_before_the_deadline_goes_on_after_it() -> None:
    assignment = given_assignment()
    begun = redemption.begin(assignment, now=assignment.expires_at - timedelta(seconds=1))
    assert redemption.begin(assignment, now=assignment.expires_at) == begun
    deliver(now=assignment.expires_at + timedelta(hours=1))
    spent_once_and_accepted()


def test_books_that_refuse_leave_it_open_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "spend", refuse)
        assignment = redeemed(given_assignment())
    failed = action_of(assignment, ActionType.REDEEMED)
    assert (failed.status, failed.error_reason) == (Status.FAILED, ErrorReason.ENROLLMENT_ERROR)
    assert (failed.error_code, failed.detail) == ("ledger_refused", "The books are closed.")
    assert (assignment.state, assignment.redeeming_since) == (State.ALLOCATED, None)

    redeemed(assignment)  # the learner tries again
    spent_once_and_accepted()
    assert action_of(assignment, ActionType.REDEEMED).retry_of == failed


def test_what_failed_before_it_was_assigned_again_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, content = given_budget(), given_content()
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "spend", refuse)
        assignment = redeemed(given_assignment(budget, content))
    cancel(budget, uuids=[assignment.uuid], now=NOW)

    redeemed(given_assignment(budget, content))

    spent_once_and_accepted()
    action = action_of(assignment, ActionType.REDEEMED)
    assert (action.cycle, action.retry_of) == (2, None)


def test_after_superseded_attempts_it_can_still_be_accepted() -> None:
    assignment = given_assignment()
    for _time in range(2):
        redemption.begin(assignment, now=NOW)
        actions.supersede([assignment.pk], [ActionType.REDEEMED], now=NOW, error_code="no_longer_wanted")
    redeemed(assignment)
    spent_once_and_accepted()
    rows = assignment.actions.filter(action_type=ActionType.REDEEMED).order_by("pk")
    assert list(rows.values_list("dedup_key", "status")) == [
        ("", Status.SUPERSEDED),
        ("again-1", Status.SUPERSEDED),
        ("again-2", Status.DONE),
    ]


def fail(*_args: object, **_more: object) -> None:
    raise RuntimeError("The columns cannot be written.")


def _same(now: datetime) -> datetime:
    return now


def repeat_in_vain(action: LearnerContentAssignmentAction, monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Attempt the work more often than any work is attempted, each time in vain; return the last time."""
    with monkeypatch.context() as broken:
        broken.setattr(lifecycle, "move", fail)
        for hours in range(MORE_THAN_ATTEMPTED):
            now = NOW + timedelta(hours=2 * hours)
            runner.drain(clock=partial(_same, now), limit=1, pks=[action.pk])
    return now


@pytest.mark.on_every_engine
def test_where_accepting_keeps_failing_nothing_is_spent_and_the_others_money_stays_reserved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget, content = given_budget(seats=2), given_content()
    assignment = given_assignment(budget, content)
    given_assignment(budget, content, address=BOB)
    later = repeat_in_vain(redemption.begin(assignment, now=NOW), monkeypatch)

    assert action_of(assignment, ActionType.REDEEMED).status == Status.FAILED
    assert not LedgerEntry.objects.exists()
    assert cancel(budget, uuids=[assignment.uuid], now=later).refused == {}
    assert (Budget.objects.get().reserved_cents, Budget.objects.get().spent_cents) == (PRICE, 0)
    assert expiry.expire_due(now=NOW + timedelta(days=90)).done == 1
    assert (Budget.objects.get().reserved_cents, Account.objects.get().reserved_cents) == (0, 0)


@pytest.mark.on_every_engine
def test_what_an_earlier_crash_left_spent_is_repeated_until_it_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget, content = given_budget(seats=2), given_content()
    assignment = given_assignment(budget, content)
    given_assignment(budget, content, address=BOB)
    action = redemption.begin(assignment, now=NOW)
    spent = ledger.spend(budget, cents=PRICE, key=assignment.ledger_key, now=NOW)
    later = repeat_in_vain(action, monkeypatch)

    action.refresh_from_db()
    assert (action.status, action.attempts) == (Status.PENDING, MORE_THAN_ATTEMPTED)
    assert cancel(budget, uuids=[assignment.uuid], now=later).refused == {assignment.uuid: "being redeemed"}
    expired = expiry.expire_due(now=NOW + timedelta(days=90))
    assert (expired.done, expired.failed) == (1, {})  # the other learner's, and only theirs
    deliver(now=NOW + timedelta(days=90))
    assignment.refresh_from_db()
    assert (assignment.state, assignment.transaction_uuid) == (State.ACCEPTED, spent.uuid)
    assert (Budget.objects.get().reserved_cents, Budget.objects.get().spent_cents) == (0, PRICE)


@pytest.mark.parametrize("kind", ["permanent", "the worker died each time"])
@pytest.mark.on_every_engine
def test_no_failure_is_final_once_the_money_is_spent(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assignment = given_assignment()
    action = redemption.begin(assignment, now=NOW)
    ledger.spend(assignment.budget, cents=PRICE, key=assignment.ledger_key, now=NOW)
    with monkeypatch.context() as broken:
        if kind == "permanent":
            broken.setattr(ledger, "spend", refuse)
            runner.drain(clock=lambda: NOW, limit=1, pks=[action.pk])
        else:
            LearnerContentAssignmentAction.objects.filter(pk=action.pk).update(attempts=MORE_THAN_ATTEMPTED)
    assert leases.any_due(LearnerContentAssignmentAction.objects.filter(pk=action.pk), now=LATER)
    deliver(now=LATER)
    spent_once_and_accepted()


@pytest.mark.on_every_engine
def test_a_late_worker_does_not_accept_what_was_assigned_again() -> None:
    assignment = given_assignment()
    late = redemption.begin(assignment, now=NOW)
    runner.drain(clock=lambda: NOW, limit=1, pks=[late.pk])
    redemption.reverse(LedgerEntry.objects.get().uuid, now=NOW)
    assert assignment.content
    allocate(assignment.budget, assignment.content, assignment.learner_email)
    redemption.begin(assignment, now=NOW)
    with pytest.raises(MoveRefused) as refused:
        redemption.fulfil(late, now=NOW)
    assert (refused.value.action_type, refused.value.refused) == (ActionType.REDEEMED, [assignment])
    assignment.refresh_from_db()
    assert (assignment.state, assignment.cycle) == (State.ALLOCATED, 2)


@pytest.mark.parametrize("step", ["before spending", "after spending", "after moving", "after committing"])
@pytest.mark.on_every_engine
def test_a_crash_at_each_step_is_repaired_and_spends_once(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, first = {
        "before spending": (ledger, "spend", False),
        "after spending": (ledger, "spend", True),
        "after moving": (lifecycle, "move", True),
        "after committing": (actions, "finish", False),
    }[step]
    original = getattr(module, name)

    def crash(*args: object, **more: object) -> None:
        if first:
            original(*args, **more)
        raise Crash

    action = redemption.begin(given_assignment(), now=NOW)
    with monkeypatch.context() as broken:
        broken.setattr(module, name, crash)
        with pytest.raises(Crash):
            runner.drain(clock=lambda: NOW, limit=1, pks=[action.pk])

    deliver(now=NOW + settings.LEASE)
    spent_once_and_accepted()
    action.refresh_from_db()
    assert (action.status, action.attempts) == (Status.DONE, 2)


@pytest.mark.on_every_engine
def test_a_crash_right_after_the_hold_is_repaired_by_the_runner() -> None:
    redemption.begin(given_assignment(), now=NOW)
    deliver(now=LATER)
    spent_once_and_accepted()


@pytest.mark.on_every_engine
def test_a_reversal_gives_the_money_back_once_and_it_can_be_assigned_again() -> None:
    assignment = redeemed(given_assignment())
    uuid = LedgerEntry.objects.get().uuid
    redemption.reverse(uuid, now=LATER)
    with pytest.raises(MoveRefused):
        redemption.reverse(uuid, now=LATER)
    assignment.refresh_from_db()
    assert (assignment.state, assignment.reversed_at) == (State.REVERSED, LATER)
    assert action_of(assignment, ActionType.REVERSED).actor is None
    assert redemption.redemptions([assignment]) == {}
    spent = LedgerEntry.objects.get()
    assert (spent.state, spent.reversed_at) == (LedgerEntryState.REVERSED, LATER)
    assert (Budget.objects.get().spent_cents, Account.objects.get().spent_cents) == (0, 0)

    assert assignment.content
    allocate(assignment.budget, assignment.content, assignment.learner_email)
    redeemed(assignment)
    assert Budget.objects.get().spent_cents == PRICE
    assert LedgerEntry.objects.count() == 2


PAIRS = 40


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rival", ["cancel", "expire"])
@pytest.mark.on_every_engine
def test_a_rival_racing_redemption_never_spends_on_what_is_not_accepted(rival: str) -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, *addresses(PAIRS))
    at = NOW + timedelta(days=90) if rival == "expire" else NOW
    moment = at - timedelta(microseconds=1)
    pairs, start = list(LearnerContentAssignment.objects.all()), Barrier(2, timeout=120)

    def race(verb: Callable[[LearnerContentAssignment], object]) -> None:
        for assignment in pairs:
            start.wait()
            verb(assignment)

    def end(one: LearnerContentAssignment) -> object:
        return cancel(budget, uuids=[one.uuid], now=at) if rival == "cancel" else expiry.expire_due(now=at)

    redeem = partial(_redeem_at, now=moment)
    assert together([partial(race, verb) for verb in (redeem, end)]) == [None, None]

    assignments = LearnerContentAssignment.objects.all()
    accepted = assignments.filter(state=State.ACCEPTED)
    spent = LedgerEntry.objects.filter(state=LedgerEntryState.COMMITTED)
    assert set(accepted.values_list("transaction_uuid", flat=True)) == set(
        spent.values_list("uuid", flat=True)
    )
    stored = Budget.objects.get()
    assert stored.spent_cents == accepted.count() * PRICE
    assert stored.reserved_cents == assignments.filter(state=State.ALLOCATED).count() * PRICE
    assert assignments.exclude(redeeming_since=None).count() == 0


def _redeem_at(assignment: LearnerContentAssignment, now: datetime) -> object:
    try:
        action = redemption.begin(assignment, now=now)
    except RedemptionRefused as refused:
        return refused
    return runner.drain(clock=lambda: now, limit=1, pks=[action.pk])


def test_the_timeline_names_the_learner_the_run_and_the_time_of_each_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, learner = given_content(), given_user()
    assignment, runs = given_assignment(content=content), (content.advertised_run, "", content.advertised_run)
    begun = [redemption.begin(assignment, now=NOW, actor=learner, content_key=runs[0])]
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "spend", refuse)
        for minutes in (1, 2):
            runner.drain(clock=partial(_same, begun[-1].created), limit=1, pks=[begun[-1].pk])
            now = NOW + timedelta(minutes=minutes)
            begun.append(redemption.begin(assignment, now=now, actor=learner, content_key=runs[minutes]))
    first, second, third = begun
    assert (second.retry_of, third.retry_of) == (first, second)
    assert [one.created for one in begun] == [NOW, NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)]
    assert {one.actor for one in begun} == {learner}
    assert tuple(one.content_run_key for one in begun) == runs
    assignment.refresh_from_db()
    assert (assignment.redeeming_since, assignment.modified) == (third.created, third.created)


def test_after_a_superseded_request_the_next_one_names_the_learner_and_the_time() -> None:
    assignment, learner = given_assignment(), given_user()
    redemption.begin(assignment, now=NOW)
    actions.supersede([assignment.pk], [ActionType.REDEEMED], now=NOW, error_code="no_longer_wanted")
    again = redemption.begin(assignment, now=LATER, actor=learner)
    assert (again.actor, again.created, again.due_at) == (learner, LATER, LATER)


@pytest.mark.on_every_engine
def test_nothing_of_a_redemption_is_left_open_when_it_ends() -> None:
    assignment = redeemed(given_assignment())
    assert action_of(assignment, ActionType.REDEEMED).due_at is None
