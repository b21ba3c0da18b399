"""`bursary audit_derived`, `bursary rebuild_derived`, and what a scheduled task does of it each day."""

import json
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from bursary.assignments import derived, derived_audit
from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import derived_report, scheduler
from bursary.ops.models import ScheduledTask
from tests import world
from tests.world import NOW

pytestmark = pytest.mark.django_db


def run(command: str, *flags: str) -> tuple[str, str]:
    """Return what the command said, and why it failed, if it did."""
    said = StringIO()
    try:
        call_command(command, *flags, stdout=said, stderr=StringIO())
    except CommandError as refusal:
        return said.getvalue(), str(refusal)
    return said.getvalue(), ""


def summary_of(command: str, *flags: str) -> tuple[dict[str, Any], str]:
    said, why = run(command, "--json", *flags)
    return json.loads(said), why


def lie(**columns: object) -> None:
    LearnerContentAssignment.objects.update(**columns)


def test_where_all_is_true_the_audit_ends_well() -> None:
    world.given_assignment()

    assert run("audit_derived") == ("1 compared, 0 wrong.\n", "")
    assert summary_of("audit_derived", "--all")[0]["columns"] == {}


def test_a_lie_ends_the_audit_with_a_refusal_that_says_what_to_do() -> None:
    assignment = world.given_assignment()
    lie(content_title="a lie")

    summary, why = summary_of("audit_derived")
    assert summary["differences"] == [
        {
            "assignment": str(assignment.uuid),
            "state": "allocated",
            "column": "content_title",
            "stored": "a lie",
            "truth": "tidal engines",
        }
    ]
    assert why == "1 are wrong: `bursary rebuild_derived` rewrites them."
    said, _why = run("audit_derived", "--sample", "5")
    assert "1 compared, 1 wrong: content_title in 1." in said
    assert "'a lie'" in said


def test_rebuilding_puts_it_right_once_and_a_dry_run_does_not() -> None:
    world.given_assignment()
    lie(content_title="a lie")

    assert "Nothing was written." in run("rebuild_derived", "--dry-run")[0]
    assert run("audit_derived")[1]
    summary, why = summary_of("rebuild_derived")
    assert (summary["wrong"], summary["still_wrong"], why) == (1, [], "")
    assert run("audit_derived")[1] == ""
    assert summary_of("rebuild_derived")[0]["wrong"] == 0


def test_only_one_budgets_assignments_are_looked_at() -> None:
    assignment = world.given_assignment()
    world.given_assignment()

    assert summary_of("audit_derived", "--budget", str(assignment.budget.uuid))[0]["looked_at"] == 1
    unknown = uuid4()
    for command in ("audit_derived", "rebuild_derived"):
        assert run(command, "--budget", str(unknown))[1] == f"There is no budget {unknown}."


@pytest.mark.parametrize("size", ["0", "-1", "many", "1" * 30, "\N{ARABIC-INDIC DIGIT SEVEN}"])
def test_a_sample_is_a_number_from_one_up(size: str) -> None:
    assert "is not a number from 1 up" in run("audit_derived", f"--sample={size}")[1]


@pytest.mark.parametrize("pk", ["-1", "first", "1.5"])
def test_a_rebuild_goes_on_after_a_number_from_0_up(pk: str) -> None:
    assert f"{pk!r} is not a number from 0 up" in run("rebuild_derived", f"--after={pk}")[1]


def test_what_is_broken_off_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(3))
    lie(content_title="a lie")
    pks = list(LearnerContentAssignment.objects.order_by("pk").values_list("pk", flat=True))
    monkeypatch.setattr(derived_audit, "BATCH", 1)
    write = derived.rebuild

    def interrupted(wrong: list[int], **more: Any) -> None:
        if wrong == [pks[1]]:
            raise KeyboardInterrupt
        write(wrong, **more)

    monkeypatch.setattr(derived, "rebuild", interrupted)
    said = StringIO()
    with pytest.raises(KeyboardInterrupt):
        call_command("rebuild_derived", stdout=StringIO(), stderr=said)
    assert said.getvalue() == f"Interrupted. Resume with: bursary rebuild_derived --after {pks[0]}\n"

    monkeypatch.setattr(derived, "rebuild", write)
    assert summary_of("rebuild_derived", "--after", str(pks[0]))[0]["wrong"] == 2


def test_two_rules_that_disagree_are_a_fault_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    world.given_assignment()
    monkeypatch.setattr(
        "bursary.assignments.expected_values._recent_action_at", lambda *_args: NOW.replace(year=2031)
    )

    assert "the two rules disagree" in run("rebuild_derived")[1]


def test_each_day_a_sample_is_compared_and_a_difference_fails_the_task(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world.allocate(world.given_budget(), world.given_content(), *world.addresses(150))
    assert derived_report.daily(clock=lambda: NOW).looked_at == 2
    tasks = [task for task in scheduler.TASKS if task.name == "audit"]

    scheduler.run_due(clock=lambda: NOW, tasks=tasks)
    assert ScheduledTask.objects.get(name="audit").summary == {"looked_at": 2}

    lie(content_title="a lie")
    scheduler.run_due(clock=lambda: NOW.replace(day=4), tasks=tasks)
    assert ScheduledTask.objects.get(name="audit").last_error == (
        "2 compared, 2 wrong: content_title in 2. See `bursary audit_derived`."
    )
    assert "Task audit failed" in caplog.text
