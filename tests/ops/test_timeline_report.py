"""`bursary timeline`: the actions of an assignment."""

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments import address_corrections, declining
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment
from bursary.ops import timeline_report
from tests import world
from tests.world import NOW

pytestmark = pytest.mark.django_db


def output_of(assignment: LearnerContentAssignment, *flags: str) -> str:
    output = StringIO()
    call_command("timeline", str(assignment.uuid), *flags, stdout=output)
    return output.getvalue()


def actions_of(assignment: LearnerContentAssignment, *flags: str) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = json.loads(output_of(assignment, "--json", *flags))["actions"]
    return actions


def given_failed() -> LearnerContentAssignment:
    assignment = world.given_assignment(address="nobody@nowhere.invalid")
    world.deliver()
    return assignment


def test_every_action_is_a_line_and_a_failure_says_why() -> None:
    output = output_of(given_failed())

    assert "Tidal Engines" in output
    assert "nobody@nowhere.invalid, $199.00 from Skills (Larkspur Logistics)" in output
    notified = next(line for line in output.splitlines() if "notified" in line)
    assert "failed" in notified
    assert "address_rejected" in notified
    assert "Addresses that end in .invalid cannot receive mail." in notified
    assert "Traceback" not in output


def test_the_id_of_an_action_is_said_to_be_of_that_action() -> None:
    assignment = given_failed()
    (failed,) = assignment.actions.filter(action_type=ActionType.NOTIFIED)
    linked = assignment.actions.get(action_type=ActionType.LEARNER_LINKED)

    def heading(asked: object) -> str:
        output = StringIO()
        call_command("timeline", str(asked), stdout=output)
        return output.getvalue().partition("┏")[0]

    for asked in (failed.uuid, f"action={failed.uuid}", f"<{str(failed.uuid).upper()}@127.0.0.1>"):
        assert "The id is of the action notified, created 2026-03-02 10:00:00." in heading(asked)
    assert timeline_report.load(assignment.uuid).action_of(linked.provider_ref) == linked
    assert "The id is" not in heading(assignment.uuid)


def test_on_a_narrow_terminal_nothing_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    assignment = given_failed()
    long = f"{'a-long-name' * 5}@people.example"
    pairs = [(assignment.learner_email, long)]
    assert address_corrections.correct_pairs(pairs, now=NOW + timedelta(hours=1), actor=None)[0].corrected
    for columns in ("80", "109", "110", "160"):
        monkeypatch.setenv("COLUMNS", columns)
        output = output_of(assignment)
        assert "…" not in output
        assert max(map(len, output.splitlines())) <= int(columns)
        parts = re.findall(r"│ ([^│]*) │$|^    (.*)", output, re.MULTILINE)  # of the last column, or a line
        assert f"to{long}." in re.sub(r"\s", "", "".join(map("".join, parts)))
    monkeypatch.setenv("COLUMNS", "80")
    lines = [" ".join(line.split()) for line in output_of(assignment).splitlines()]
    assert "Madrid time:" in lines
    assert "2026-03-02 10:00:00 notified failed" in lines
    assert "address_rejected: Addresses that end in .invalid cannot receive mail." in lines


def test_stack_traces_are_shown_when_asked_for() -> None:
    output = output_of(given_failed(), "--traceback")

    assert "Traceback (most recent call last)" in output
    assert "DeliveryError" in output


def test_an_open_assignment_says_until_when_and_why() -> None:
    output = output_of(world.given_assignment())

    assert "until Sunday, 31 May 2026, 11:00 (Madrid time): after that the assignment expires" in output


def test_what_the_learner_declined_is_declined_and_not_cancelled() -> None:
    assignment = world.given_assignment()
    declining.decline(assignment, reason="", now=NOW)

    lines = [line.strip() for line in output_of(assignment).splitlines()]
    assert "declined" in lines
    assert "cancelled" not in lines


def test_as_json_it_has_every_action_in_order() -> None:
    actions = actions_of(given_failed())

    assert [(one["type"], one["status"]) for one in actions] == [
        ("allocated", "done"),
        ("learner_linked", "done"),
        ("notified", "failed"),
    ]
    assert (actions[2]["error_reason"], actions[2]["cause"]) == ("email_error", "address_rejected")
    assert "traceback" not in actions[2]


def test_as_json_stack_traces_come_when_asked_for() -> None:
    notified = actions_of(given_failed(), "--traceback")[2]

    assert notified["traceback"].startswith("Traceback")


def test_work_that_will_be_tried_again_says_what_went_wrong_last(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    now = timezone.now() - timedelta(hours=1)
    assignment = world.given_assignment(now=now)
    world.deliver(now=now, limit=2)

    assert actions_of(assignment)[2]["cause"] == "mail_server_unreachable"
    assert "retry 20" in output_of(assignment)


def test_square_brackets_of_a_mail_server_are_shown_as_they_are() -> None:
    assignment = given_failed()
    assignment.actions.filter(action_type="notified").update(detail="[bold]550[/x] no such user")

    assert "[bold]550[/x] no such user" in output_of(assignment)


def test_an_unknown_assignment_is_said_to_be_unknown() -> None:
    with pytest.raises(
        CommandError, match=r"Nothing is found by [0-9a-f-]{36}\. Give the uuid of an assignment, "
    ):
        call_command("timeline", str(uuid4()))
