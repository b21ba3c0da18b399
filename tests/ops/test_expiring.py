"""`bursary expire_assignments`: expires what is due, says so, and fails loudly."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.ledger import LedgerError
from tests.world import ALICE, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _one_due_and_one_not() -> None:
    for days_ago in (91, 1):
        allocate(given_budget(), given_content(), ALICE, now=timezone.now() - timedelta(days=days_ago))


def expired() -> int:
    return LearnerContentAssignment.objects.filter(state=State.EXPIRED).count()


def run(*arguments: str) -> str:
    answer = StringIO()
    call_command("expire_assignments", *arguments, stdout=answer, stderr=StringIO())
    return answer.getvalue().strip()


def test_it_expires_what_is_due_and_says_how_many() -> None:
    assert run() == "1 expired."
    assert expired() == 1
    assert run() == "0 expired."


def test_a_dry_run_counts_by_reason_and_changes_nothing() -> None:
    assert json.loads(run("--dry-run", "--json")) == {
        "dry_run": True,
        "due": 1,
        "reasons": {"NINETY_DAYS_PASSED": 1},
    }
    assert expired() == 0


def test_a_budget_that_fails_makes_the_command_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise LedgerError("The books are closed.")

    monkeypatch.setattr(ledger, "release", refuse)
    with pytest.raises(CommandError, match="1 budget failed"):
        run()
    assert expired() == 0
