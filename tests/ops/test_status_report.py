"""`bursary status`: what was done, what waits and why, what failed by cause, and the scheduled tasks."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import User
from bursary.assignments import actions
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failure, Postponed
from bursary.delivery import file_backend
from bursary.lib import leases
from bursary.lib.moments import FAR_FUTURE
from bursary.ops import scheduler, status_report
from bursary.ops.scheduler import TaskDefinition, TaskFailed
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    NOW,
    action_of,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_user,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(minutes=1)


def screen() -> str:
    answer = StringIO()
    call_command("status", stdout=answer)
    return answer.getvalue()


@pytest.fixture(autouse=True)
def _one_minute_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: LATER)


def test_what_was_done_since_yesterday_is_counted_by_type_and_outcome(mail: MailServer) -> None:
    given_assignment(now=NOW - timedelta(days=2))
    deliver(now=NOW - timedelta(days=2))
    given_assignment(address=BOB)
    deliver()

    done = status_report.load(now=LATER).done

    assert done == {
        "allocated": {"done": 1, "failed": 0, "skipped": 0},
        "learner_linked": {"done": 1, "failed": 0, "skipped": 0},
        "notified": {"done": 1, "failed": 0, "skipped": 0},
    }


def test_what_is_due_is_counted_with_the_wait_of_the_oldest() -> None:
    given_assignment()
    waiting = status_report.load(now=LATER).waiting
    assert waiting.due == {"notified": 1}
    assert waiting.oldest_due == NOW
    assert "The oldest has waited 60 s." in screen()


def test_what_is_postponed_has_its_cause_and_its_next_retry() -> None:
    mailed = action_of(given_assignment(), ActionType.NOTIFIED)
    (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[mailed.pk])
    silent = Failure(ErrorReason.INTERNAL_API_ERROR, "mail_server_unreachable", "It does not answer.", "")
    actions.finish(claimed, Postponed(silent, until=NOW + timedelta(hours=1)), now=NOW)

    waiting = status_report.load(now=LATER).waiting

    assert waiting.due == {}
    assert waiting.postponed == {"notified": 1}
    assert waiting.postponed_by_cause == {"mail_server_unreachable": 1}
    assert waiting.next_retry == NOW + timedelta(hours=1)
    shown = screen()
    assert "Postponed: 1 notified. The next is tried at 2026-03-02 10:00." in shown
    assert "Why: 1 mail_server_unreachable." in shown


def test_the_reasons_of_what_is_postponed_add_up_to_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    allocate(given_budget(), given_content(), *(f"learner-{number}@x.example" for number in range(4)))
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    first = mails.earliest("pk")
    (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[first.pk])
    silent = Failure(ErrorReason.INTERNAL_API_ERROR, "mail_server_unreachable", "It does not answer.", "")
    actions.finish(claimed, Postponed(silent, until=NOW + timedelta(hours=1)), now=NOW)
    mails.exclude(pk=first.pk).update(early=leases.NOT_BEFORE, due_at=NOW + timedelta(hours=2))

    shown = screen()
    assert "Postponed: 4 notified. The next is tried at 2026-03-02 10:00." in shown
    assert "Why: 1 mail_server_unreachable, 3 not tried yet." in shown
    monkeypatch.setattr(status_report, "MAX_EXAMINED", 1)
    assert "Why, of 1 of them: 1 mail_server_unreachable." in screen()


def test_what_is_wrong_comes_first_and_what_is_well_is_short() -> None:
    assert scheduler.run_due(clock=lambda: NOW, tasks=[well("expire"), well("remind")])
    given_assignment(address="one@nowhere.invalid")
    deliver()

    lines = [line for line in screen().splitlines() if line.strip()]

    assert len(lines) <= 12
    assert lines[0] == "1 failure to repair at 2026-03-02 09:01 UTC, as all times here."
    assert lines[1] == "Failed, to be repaired: most first"
    assert "Scheduled tasks: none is late or fails. The last one ran at 2026-03-02 09:00." in lines
    assert "Nothing waits." in lines
    assert lines[-2:] == ["done: 1 allocated, 1 learner_linked.", "failed: 1 notified."]


def test_what_failed_is_counted_by_cause_until_it_is_repaired() -> None:
    allocate(given_budget(), given_content(), "one@nowhere.invalid", "two@nowhere.invalid", ALICE)
    deliver()
    (failed,) = status_report.load(now=LATER).failed
    assert (failed.cause, failed.action_type, failed.count) == ("address_rejected", "notified", 2)
    assert failed.latest == failed.first == NOW
    assert LearnerContentAssignment.objects.get(uuid=failed.example).learner_email.endswith(".invalid")
    shown = screen()
    assert (
        f"address_rejected, notified: The address does not exist. `bursary timeline {failed.example}`"
        in shown
    )
    assert "address_rejected: a retry would fail again." in shown
    assert "`bursary correct_address OLD NEW`" in shown
    assert "retry_failed" not in shown
    LearnerContentAssignmentAction.objects.update(error_code="message_refused")
    assert "`bursary retry_failed --cause CODE`" in screen()


def test_of_what_is_too_late_to_retry_it_says_to_skip_it() -> None:
    allocate(given_budget(), given_content(), ALICE, BOB)
    mails = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED)
    why = {"error_reason": ErrorReason.EMAIL_ERROR, "error_code": "message_refused"}
    mails.update(status=Status.FAILED, completed_at=NOW, due_at=None, early=None, **why)
    of_alice = mails.filter(assignment__learner_email=ALICE)
    of_alice.update(action_type=ActionType.NUDGED)  # before a start, which is not known any more
    LearnerContentAssignment.objects.update(content_start=FAR_FUTURE)
    too_late = "Too late for a retry, as the deadline has passed or the course has started: 1. "

    found = {one.action_type: (one.count, one.too_late) for one in status_report.load(now=LATER).failed}
    assert found == {"nudged": (1, 1), "notified": (1, 0)}
    shown = screen()
    assert "repair what is at fault, then: `bursary retry_failed --cause CODE`." in shown
    assert f"{too_late}Skip it once the others are repaired: `bursary skip_failed`." in shown

    mails.all().delete()
    shown = screen()
    assert f"{too_late}Skip it: `bursary skip_failed`." in shown
    assert "retry_failed" not in shown

    of_bob = LearnerContentAssignmentAction.objects.filter(
        action_type=ActionType.LEARNER_LINKED, assignment__learner_email=BOB
    )
    of_bob.update(
        action_type=ActionType.NUDGED, status=Status.FAILED, completed_at=NOW, due_at=None, early=None, **why
    )
    assert f"{too_late.replace('1', '2')}Skip them: `bursary skip_failed`." in screen()


def test_links_to_set_a_password_that_were_given_up_are_counted_for_a_day() -> None:
    user = given_user()
    assert "Links to set a password" not in screen()
    for hours, count in ((1, 1), (25, 0)):
        User.objects.filter(pk=user.pk).update(reset_failed_at=LATER - timedelta(hours=hours))
        assert status_report.load(now=LATER).password_links_given_up == count
        assert screen().startswith("1 password link given up at " if count else "ok at ")
    assert "could not be sent, given up" not in screen()


def test_its_times_name_their_zone() -> None:
    assert "2026-03-02 09:01 UTC, as all times here." in screen()


def well(name: str) -> TaskDefinition:
    return TaskDefinition(name, timedelta(hours=1), lambda _clock: {})


def test_each_task_has_its_last_run_its_next_and_its_failure() -> None:
    def fail(_clock: object) -> dict[str, object]:
        raise TaskFailed("The disk is full.")

    hourly = TaskDefinition("expire", timedelta(hours=1), fail)
    assert scheduler.run_due(clock=lambda: NOW, tasks=[hourly, well("remind")]) == ["expire", "remind"]

    task, _other = status_report.load(now=LATER).tasks

    assert (task.name, task.finished_at, task.failures) == ("expire", NOW, 1)
    assert (task.last_error, task.due_at, task.late) == (
        "The disk is full.",
        NOW + timedelta(minutes=1),
        False,
    )
    shown = screen()
    assert shown.startswith("1 task late or failing at ")
    assert "The disk is full." in shown
    assert "remind" not in shown


def test_the_rate_of_mails_is_shown_where_there_is_one(settings: Settings) -> None:
    assert "in a minute" not in screen()
    settings.SENDS_PER_MINUTE = 600
    assert "At most 600 mails a minute." in screen()


def test_a_mail_servers_trouble_has_its_beginning_its_fault_and_the_wait(settings: Settings) -> None:
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    allocate(given_budget(), given_content(), *(f"learner-{number}@x.example" for number in range(3)))
    deliver()

    report = status_report.load(now=LATER)

    trouble = report.mail_server
    assert trouble is not None
    assert (trouble.since, trouble.cause, trouble.failures) == (NOW, "mail_server_unreachable", 1)
    assert trouble.fault == "the mail server, or the way to it"
    assert (report.waiting.mails, report.waiting.oldest_mail) == (3, NOW)
    shown = screen()
    assert shown.startswith("degraded at ")
    assert "The mail server has been in trouble since 2026-03-02 09:00: mail_server_unreachable." in shown
    assert "At fault: the mail server, or the way to it." in shown
    assert "Mails that wait: 3, the oldest for 60 s. None is lost." in shown


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "mail").touch()
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = file_backend.BACKEND, str(tmp_path / "mail")
    assert "The folder of the database or of the mails cannot be written." in screen()


def test_what_failed_says_what_is_at_fault() -> None:
    given_assignment(address="one@nowhere.invalid")
    deliver()
    assert "the learner's address" in screen()


def test_the_width_that_the_environment_names_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given_assignment(address="one@nowhere.invalid")
    deliver()
    monkeypatch.setenv("COLUMNS", "60")
    shown = screen()
    assert max(map(len, shown.splitlines())) <= 60
    example = LearnerContentAssignment.objects.get().uuid
    assert f"\n`bursary timeline {example}`\n" in shown  # whole, to be copied
    assert "`bursary correct_address OLD NEW`" in shown
    assert "the learner's\n" in shown


def test_a_command_to_copy_stays_on_one_line_that_is_longer_than_the_screen_if_it_must_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_assignment(address="one@nowhere.invalid")
    deliver()
    monkeypatch.setenv("COLUMNS", "30")
    example = "abcdefab-abcd-4bcd-abcd-abcdefabcdef"
    LearnerContentAssignment.objects.update(uuid=example)
    assert f"\n`bursary timeline {example}`\n" in screen()


def test_it_is_one_object_for_programs() -> None:
    answer = StringIO()
    call_command("status", "--json", stdout=answer)
    report = json.loads(answer.getvalue())
    assert set(report) == {
        *("now", "since", "health", "mail_server", "sends_per_minute", "done", "waiting", "failed", "tasks"),
        "password_links_given_up",
    }
    assert report["health"]["status"] == "ok"


def test_numbers_stop_at_a_bound_and_queries_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_report, "MAX_COUNTED", 2)
    allocate(given_budget(), given_content(), *(f"learner-{number}@x.example" for number in range(5)))

    with CaptureQueriesContext(connection) as run:
        report = status_report.load(now=LATER)

    assert len(run) <= 17
    assert sum(counts["done"] for counts in report.done.values()) == 2
    assert sum(report.waiting.due.values()) == 2
    assert "Due: 2 or more notified." in screen()
    assert ", of the newest 2 of an outcome" in screen()
