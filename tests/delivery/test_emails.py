"""Mails: content and recipients, and how a server's answers are read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import Settings

from bursary.access.links import LinkExpired
from bursary.assignments import actions, signed_links
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, ErrorReason, ExpiryReason, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.delivery import emails, runner
from bursary.lib.logs import without_tokens
from tests.enterprise_catalog import faults
from tests.letters import link_in, text_of
from tests.replica.reading import read_over_http
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    NOW,
    action_of,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
)

pytestmark = pytest.mark.django_db


def bodies(mail: MailServer) -> tuple[str, str]:
    """Return the last mail's text and HTML, each on one line."""
    parts = [mail.received[-1].get_body((kind,)) for kind in ("plain", "html")]
    text, html = (" ".join(part.get_content().split()) for part in parts if part is not None)
    return text, html


def test_a_new_assignment_names_organisation_course_deadline_reason_and_link(mail: MailServer) -> None:
    content = given_content(title="Tidal Engines", partner_names="Riverside Institute")
    assignment = given_assignment(content=content)
    deliver()
    message = mail.received[0]
    assert (message["To"], message["Subject"].strip()) == (
        ALICE,
        "Larkspur Logistics has assigned you “Tidal Engines”",
    )
    assert message["Auto-Submitted"] == "auto-generated"
    for body in bodies(mail):
        assert "Larkspur Logistics has assigned you a course" in body
        assert "Tidal Engines" in body
        assert "by Riverside Institute" in body
        assert "Sunday, 31 May 2026, 11:00 (Madrid time)" in body
        assert "after that it cannot be accepted any more" in body
        token = body.partition("http://testserver/a/")[2].partition("/")[0]
        assert signed_links.opened(token, now=NOW) == assignment


@pytest.mark.parametrize("mode", ["upstream", "shadow"])
def test_while_upstream_is_silent_a_mail_names_the_course_as_our_row_does(
    mode: str, mail: MailServer, settings: Settings
) -> None:
    titled, untitled = given_content(title="Tidal Engines"), given_content(title="")
    for content in (titled, untitled):
        given_assignment(given_budget(), content)
    LearnerContentAssignment.objects.update(content=None)
    with read_over_http(settings, mode=mode) as upstream:
        upstream.fails_with(faults.status(503))
        deliver()
    subjects = {message["Subject"].strip() for message in mail.received}
    assert subjects == {
        f"Larkspur Logistics has assigned you “{name}”" for name in ("Tidal Engines", untitled.content_key)
    }


def test_what_was_sent_is_kept_on_the_action_without_the_token_of_its_link(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    kept = action_of(assignment, ActionType.NOTIFIED).payload
    assert kept["subject"] == mail.received[0]["Subject"].strip()
    sent = bodies(mail)[0]
    assert without_tokens(sent) != sent
    assert " ".join(kept["text"].split()) == without_tokens(sent)
    assert 'href="http://testserver/a/…/"' in kept["html"]
    assert kept["html"].startswith("<!doctype html>")


def test_a_mail_that_is_tried_again_brings_a_link_that_lives_from_then_on(mail: MailServer) -> None:
    assignment = given_assignment()
    mail.go()
    deliver()
    mail.come()
    later = NOW + timedelta(hours=1)
    deliver(now=later)
    token = link_in(mail.received[0]).split("/")[2]
    assert signed_links.opened(token, now=NOW + timedelta(days=14, minutes=59)) == assignment


def test_the_link_of_each_mail_works_until_the_deadline_that_the_mail_names(mail: MailServer) -> None:
    assignment = given_assignment(given_budget(allocation_age_days=200))
    deliver()
    actions.request([assignment], [ActionType.REMINDED], now=NOW, dedup_key="manual-1")
    later = NOW + timedelta(days=100)
    LearnerContentAssignment.objects.update(expires_at=later)
    deliver()

    for message, named, ends_at in (
        (mail.received[0], "Friday, 18 September 2026, 11:00 (Madrid time)", NOW + timedelta(days=200)),
        (mail.received[1], "Wednesday, 10 June 2026, 11:00 (Madrid time)", later),
    ):
        assert named in text_of(message)
        token = link_in(message).split("/")[2]
        assert signed_links.opened(token, now=ends_at) == assignment
        with pytest.raises(LinkExpired):
            signed_links.opened(token, now=ends_at + timedelta(seconds=2))


def test_a_mail_after_its_deadline_waits_as_long_as_the_deadline_may_move_back(
    mail: MailServer,
) -> None:
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(expires_at=NOW)
    due_at = NOW
    for attempt in range(runner.MAX_ATTEMPTS + 2):
        deliver(now=due_at)
        before, due_at = due_at, action_of(assignment, ActionType.NOTIFIED).due_at or NOW
        assert due_at - before == timedelta(hours=3 + attempt)

    waiting = action_of(assignment, ActionType.NOTIFIED)
    assert (waiting.status, waiting.attempts) == (Status.PENDING, runner.MAX_ATTEMPTS + 2)
    assert waiting.due_at
    LearnerContentAssignment.objects.update(expires_at=waiting.due_at + timedelta(days=1))
    deliver(now=waiting.due_at)
    assert len(mail.received) == 1


def test_a_mail_about_an_end_has_no_link_to_act_by(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    deliver()
    assert all("http" not in body for body in bodies(mail))


def test_a_cancellation_says_that_nothing_need_be_done(mail: MailServer) -> None:
    assignment = given_assignment()
    deliver()
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    deliver()
    for body in bodies(mail):
        assert "has cancelled the course" in body
        assert "You do not need to do anything" in body


def test_markup_in_names_is_text_and_line_breaks_do_not_reach_headers(mail: MailServer) -> None:
    customer = given_customer(name="A & B\r\nBcc: all@learners.example")
    content = given_content(title="<script>alert(1)</script>{{ settings.SECRET_KEY }}")
    given_assignment(budget=given_budget(customer=customer), content=content)
    deliver()
    text, html = bodies(mail)
    assert "<script>alert(1)</script>{{ settings.SECRET_KEY }}" in text
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert mail.received[0]["Bcc"] is None
    assert [message["To"] for message in mail.received] == [ALICE]


def test_content_that_is_not_known_yet_is_named_by_its_key(mail: MailServer) -> None:
    assignment = given_assignment()
    type(assignment).objects.update(content=None, content_key="UnknownX+U1")
    deliver()
    assert "UnknownX+U1" in bodies(mail)[0]


@pytest.mark.parametrize("reason", list(ExpiryReason))
def test_every_reason_of_a_deadline_has_its_words(reason: ExpiryReason) -> None:
    assignment = given_assignment()
    assignment.expires_reason = reason
    assert emails.deadline_text(assignment).because == emails.BECAUSE[reason]


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "Tuesday, 31 March 2026, 22:30 (UTC)"),
        ("Europe/Madrid", "Wednesday, 1 April 2026, 00:30 (Madrid time)"),
        ("America/New_York", "Tuesday, 31 March 2026, 18:30 (New York time)"),
        ("Asia/Kathmandu", "Wednesday, 1 April 2026, 04:15 (Kathmandu time)"),
    ],
)
def test_a_deadline_is_written_in_the_organisations_time_zone(zone: str, words: str) -> None:
    assignment = given_assignment(budget=given_budget(customer=given_customer(time_zone=zone)))
    assignment.expires_at = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
    assert emails.deadline_text(assignment).when == words


def test_an_address_that_no_server_can_take_is_rejected_without_asking_one(mail: MailServer) -> None:
    assignment = given_assignment(address="alice@learners.invalid")
    deliver()
    failed = action_of(assignment, ActionType.NOTIFIED)
    assert (failed.status, failed.error_reason) == (Status.FAILED, ErrorReason.EMAIL_ERROR)
    assert mail.received == []


def test_a_full_mailbox_is_tried_again(mail: MailServer) -> None:
    mail.mailbox_full.add(ALICE)
    assignment = given_assignment()
    deliver()
    waiting = action_of(assignment, ActionType.NOTIFIED)
    assert waiting.status == Status.PENDING
    assert waiting.attempt_log[-1]["cause"] == "mailbox_unavailable"
    mail.mailbox_full.clear()
    deliver(now=NOW + timedelta(hours=1))
    assert len(mail.received) == 1


def test_mails_are_files_unless_a_server_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "bursary.delivery.file_backend.FileEmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    given_assignment()
    deliver()
    (file,) = tmp_path.iterdir()
    assert f"To: {ALICE}" in file.read_text()


@pytest.mark.parametrize(
    ("answer", "status", "error_code"),
    [
        ("550 5.1.1 No such user", Status.FAILED, "address_rejected"),
        ("554 5.7.1 Relay access denied", Status.PENDING, "mail_server_refuses_us"),
        ("451 4.3.0 Try later", Status.PENDING, "mail_server_busy"),
    ],
)
def test_an_address_is_blamed_only_for_its_own_fault(
    mail: MailServer, answer: str, status: Status, error_code: str
) -> None:
    mail.answers[ALICE] = answer
    assignment = given_assignment()
    deliver()
    action = action_of(assignment, ActionType.NOTIFIED)
    assert (action.status, action.attempt_log[-1]["cause"]) == (status, error_code)
