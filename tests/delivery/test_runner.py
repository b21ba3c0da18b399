"""The runner: claim, attempt, finish; and what it does when things go wrong."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.conf import settings

from bursary.assignments import actions
from bursary.assignments.choices import MAILS, WORK, ActionType, ErrorReason, LearnerState, Status
from bursary.assignments.lifecycle import MOVES
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.assignments.outcomes import Done
from bursary.delivery import handlers, runner
from bursary.delivery.errors import DeliveryError
from tests.smtp import MailServer
from tests.world import (
    NOW,
    action_of,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db

Delivery = Callable[[LearnerContentAssignmentAction], Done]


@pytest.fixture
def notify_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Delivery], None]:
    """Let a function stand where the new-assignment mail is sent."""

    def stand_in(delivery: Delivery) -> None:
        def handler(action: LearnerContentAssignmentAction, *, now: datetime) -> Done:
            assert now == action.modified
            return delivery(action)

        kinds = dict(handlers.HANDLERS) | {ActionType.NOTIFIED: handler}
        monkeypatch.setattr(handlers, "HANDLERS", kinds)

    return stand_in


@pytest.mark.on_every_engine
def test_everything_due_is_done_and_nothing_is_left(mail: MailServer) -> None:
    allocate(given_budget(), given_content(), *addresses(7))
    assert deliver() == 7
    assert len(mail.received) == 7
    assert deliver() == 0
    assert not LearnerContentAssignmentAction.objects.filter(due_at__isnull=False).exists()


@pytest.mark.on_every_engine
def test_a_round_is_bounded(mail: MailServer) -> None:
    allocate(given_budget(), given_content(), *addresses(7))
    assert deliver(limit=5) == 5


@pytest.mark.on_every_engine
def test_the_earlier_is_done_before_the_later(mail: MailServer) -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, "second@learners.example", now=NOW + timedelta(minutes=1))
    allocate(budget, content, "first@learners.example", now=NOW)
    deliver(now=NOW + timedelta(hours=1))
    order = [message["To"] for message in mail.received]
    assert order == ["first@learners.example", "second@learners.example"]


def test_work_is_not_done_before_it_is_due(mail: MailServer) -> None:
    given_assignment(now=NOW)
    assert deliver(now=NOW - timedelta(seconds=1)) == 0


@pytest.mark.on_every_engine
def test_poison_is_given_up_after_its_attempts_and_harms_no_neighbour(
    notify_with: Callable[[Delivery], None],
) -> None:
    def poison(action: LearnerContentAssignmentAction) -> Done:
        if action.recipient == "learner-0@learners.example":
            raise ZeroDivisionError("poison")
        return Done()

    notify_with(poison)
    allocate(given_budget(), given_content(), *addresses(2))
    for hour in range(60):
        deliver(now=NOW + timedelta(hours=hour))
    poisoned, healthy = LearnerContentAssignmentAction.objects.filter(
        action_type=ActionType.NOTIFIED
    ).order_by("recipient")
    assert (poisoned.status, poisoned.attempts) == (Status.FAILED, runner.MAX_ATTEMPTS)
    assert (poisoned.error_reason, poisoned.error_code) == (
        ErrorReason.INTERNAL_API_ERROR,
        "unexpected_error",
    )
    assert "ZeroDivisionError: poison" in poisoned.traceback
    assert (healthy.status, healthy.attempts) == (Status.DONE, 1)


def test_a_permanent_error_is_not_tried_again(notify_with: Callable[[Delivery], None]) -> None:
    def refuse(action: LearnerContentAssignmentAction) -> Done:
        raise DeliveryError("message_refused", "The mail server answered 554: spam", permanent=True)

    notify_with(refuse)
    assignment = given_assignment()
    deliver()
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert (failed.status, failed.attempts, failed.error_code) == (Status.FAILED, 1, "message_refused")


@pytest.mark.on_every_engine
def test_a_dead_workers_action_is_done_when_its_lease_ends(mail: MailServer) -> None:
    assignment = given_assignment()
    actions.claim(now=NOW, lease=settings.LEASE, limit=2)  # and then it dies
    assert deliver(now=NOW + settings.LEASE - timedelta(seconds=1)) == 0
    deliver(now=NOW + settings.LEASE)
    again = action_of(assignment, ActionType.NOTIFIED)
    assert (again.status, again.attempts, again.fence) == (Status.DONE, 2, 2)
    assert len(mail.received) == 1


@pytest.mark.on_every_engine
def test_work_on_which_every_worker_dies_is_given_up() -> None:
    assignment = given_assignment()
    notified = assignment.actions.filter(action_type=ActionType.NOTIFIED)
    notified.update(attempts=runner.MAX_ATTEMPTS)
    deliver()
    failed = notified.get()
    assert (failed.status, failed.error_code) == (Status.FAILED, "worker_died")
    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.FAILED


@pytest.mark.on_every_engine
def test_a_worker_paused_beyond_its_lease_changes_nothing(
    mail: MailServer, notify_with: Callable[[Delivery], None]
) -> None:
    """Both sent: that is what a lease cannot prevent. The row shows one of them, truthfully."""
    assignment = given_assignment()
    late = NOW + settings.LEASE

    def pause(action: LearnerContentAssignmentAction) -> Done:
        notify_with(lambda _action: Done(provider_ref="the other worker"))
        runner.drain(clock=lambda: late, limit=10)
        return Done(provider_ref="the late worker")

    notify_with(pause)
    deliver()
    row = action_of(assignment, ActionType.NOTIFIED)
    assert (row.status, row.provider_ref, row.attempts) == (Status.DONE, "the other worker", 2)


@pytest.mark.parametrize("attempts", range(1, 25))
def test_waits_grow_within_bounds(attempts: int) -> None:
    most = min(runner.LONGEST_WAIT, runner.FIRST_WAIT * 2 ** (attempts - 1))
    waits = [runner.wait_after(attempts) for _draw in range(50)]
    assert all(timedelta(0) <= wait <= most for wait in waits)
    assert max(waits) > most / 2  # full jitter: fails once in 2**50 runs


def test_every_kind_of_work_that_can_be_requested_today_can_be_delivered() -> None:
    by_allocation_and_cancellation = {
        kind
        for move in (ActionType.ALLOCATED, ActionType.CANCELLED, ActionType.DECLINED)
        for kind in MOVES[move].requests
    }
    assert by_allocation_and_cancellation <= set(handlers.HANDLERS)


def test_mails_are_the_work_that_the_module_of_mails_does() -> None:
    done_by = {kind: handler.__module__ for kind, handler in handlers.HANDLERS.items()}
    assert {kind for kind, module in done_by.items() if module == "bursary.delivery.emails"} == MAILS
    assert set(done_by) == WORK
