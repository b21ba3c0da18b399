"""The scheduler did not run for a week: when it runs again, everything is caught up, once."""

from datetime import datetime, timedelta

import pytest

from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.ops import scheduler
from bursary.ops.models import ScheduledTask
from tests.smtp import MailServer
from tests.world import NOW, PRICE, addresses, allocate, deliver, given_budget, given_content

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SWEEPS = [task for task in scheduler.TASKS if task.name in {"expire", "remind", "nudge"}]


def run_scheduler(now: datetime) -> None:
    scheduler.run_due(clock=lambda: now, tasks=SWEEPS)
    deliver(now=now)


def made(kind: ActionType) -> int:
    return LearnerContentAssignmentAction.objects.filter(action_type=kind).count()


def test_a_week_without_the_scheduler_is_caught_up_once(mail: MailServer) -> None:
    budget = given_budget()
    expiring = given_content(enroll_by=NOW + 5 * DAY)
    starting = given_content(start_date=NOW + 12 * DAY)
    started = given_content(start_date=NOW + 6 * DAY)
    for number, content in enumerate((expiring, starting, started)):
        allocate(budget, content, *addresses(2, start=10 * number))
    deliver()
    run_scheduler(NOW)

    run_scheduler(NOW + 8 * DAY)  # no run in between

    states = LearnerContentAssignment.objects.values_list("content", "state")
    assert {state for pk, state in states if pk == expiring.pk} == {State.EXPIRED}
    assert Budget.objects.get().reserved_cents == 4 * PRICE
    assert made(ActionType.EXPIRATION_NOTIFIED) == 2
    # The reminder of the seventh day; of what expired meanwhile, no learner is reminded any more.
    assert made(ActionType.REMINDED) == 4
    # The nudge a week before the start; what has started meanwhile needs none.
    assert made(ActionType.NUDGED) == 2

    sent = len(mail.received)
    for hours in range(1, 24):
        run_scheduler(NOW + 8 * DAY + timedelta(hours=hours))
    assert len(mail.received) == sent
    assert not ScheduledTask.objects.exclude(last_error="").exists()
