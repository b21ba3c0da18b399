"""`bursary remind_assignments` and `nudge_assignments`: what the scheduler does, by hand."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.utils import timezone

from bursary.assignments import actions
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from tests.smtp import MailServer
from tests.world import deliver, given_assignment, given_content

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _notified_ten_days_ago(mail: MailServer) -> None:
    """Let an assignment wait since ten days, and start in six."""
    now = timezone.now()
    then = now - timedelta(days=10)
    given_assignment(content=given_content(start_date=now + timedelta(days=6)), now=then)
    deliver(now=then)


def run(command: str, *arguments: str) -> str:
    answer = StringIO()
    call_command(command, *arguments, stdout=answer, stderr=StringIO())
    return answer.getvalue().strip()


def requested(kind: ActionType) -> int:
    return LearnerContentAssignmentAction.objects.filter(action_type=kind).count()


@pytest.mark.parametrize(
    ("command", "kind", "done"),
    [
        ("remind_assignments", ActionType.REMINDED, "reminded"),
        ("nudge_assignments", ActionType.NUDGED, "nudged"),
    ],
)
def test_a_sweep_says_what_it_did_and_does_it_once(command: str, kind: ActionType, done: str) -> None:
    assert json.loads(run(command, "--dry-run", "--json")) == {"dry_run": True, "due": 1}
    assert run(command, "--dry-run") == "1 would be checked; not each of them gets a mail."
    assert requested(kind) == 0
    assert run(command) == f"1 {done}."
    assert run(command) == f"0 {done}."
    assert requested(kind) == 1
    assert json.loads(run(command, "--json")) == {"dry_run": False, done: 0, "failed_budgets": {}}


def test_a_budget_that_fails_makes_the_command_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(actions, "request", refuse)
    with pytest.raises(CommandError, match="1 budget failed"):
        run("remind_assignments")
    assert LearnerContentAssignment.objects.get().remind_at <= timezone.now()
