"""What is at fault when a mail server refuses, at each verb, and what happens over the week that follows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker, Settings

from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.delivery import mail_server
from bursary.delivery.smtp_answers import Answer, asked_to_wait, error_of_answer
from tests.once import made_once
from tests.scripted_smtp import BREAKS, ScriptedServer, scripted_server
from tests.world import NOW, action_of, deliver, given_assignment

CASES = Path(__file__).parents[1] / "data" / "cases" / "smtp-answers.json"
WEEK = [timedelta(hours=12 * step) for step in range(15)]
DAY = timedelta(days=1)

ADDRESS, MAILBOX, MESSAGE = "address_rejected", "mailbox_unavailable", "message_refused"
LIMIT, REFUSES_US = "sending_limit_reached", "mail_server_refuses_us"
BUSY, SILENT, LOST = "mail_server_busy", "mail_server_unreachable", "answer_lost"


@dataclass(frozen=True)
class Meaning:
    """What follows an answer: the error code, how long it is tried, and whether an operator must know."""

    error_code: str
    tried_for: timedelta
    operator: bool


AT_ONCE, FOUR_DAYS = timedelta(0), timedelta(days=4)
MEANINGS = {
    "the address: final, correct it": Meaning(ADDRESS, AT_ONCE, operator=False),
    "we: try again, later and more slowly": Meaning(LIMIT, FOUR_DAYS, operator=True),
    "we: try again; tell the operator": Meaning(REFUSES_US, FOUR_DAYS, operator=True),
    "the mailbox, for now: try again for a day, then final": Meaning(MAILBOX, DAY, operator=False),
    "the server, for now": Meaning(BUSY, FOUR_DAYS, operator=True),
    "for now: not before 300 seconds": Meaning(BUSY, FOUR_DAYS, operator=False),
    "the message: final, tell the operator": Meaning(MESSAGE, AT_ONCE, operator=False),
}
"""The words of the cases. What fails for good is logged and counted; trouble is that and on `/healthz`."""
LINES = [
    ({"at RCPT": "RCPT", "after DATA": "message"}[verb], answer, MEANINGS[meaning])
    for verb, answers in json.loads(CASES.read_text()).items()
    for answer, meaning in answers.items()
]


@pytest.fixture
def server(settings: Settings) -> Iterator[ScriptedServer]:
    with scripted_server(settings) as server:
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "bursary", "secret"
        yield server


@pytest.fixture(autouse=True, scope="module")
def _assigned(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Assign a course, of which each test delivers the mail."""
    with made_once(django_db_blocker):
        given_assignment()
        yield


def mail_after(steps: list[timedelta]) -> LearnerContentAssignmentAction:
    """Deliver at each step; return the mail about the assignment."""
    for step in steps:
        deliver(now=NOW + step)
    return action_of(LearnerContentAssignment.objects.get(), ActionType.NOTIFIED)


@pytest.mark.django_db
@pytest.mark.parametrize(("verb", "answer", "meaning"), LINES, ids=lambda one: one if one is str else None)
def test_each_answer_has_its_fault_and_its_week(
    server: ScriptedServer, verb: str, answer: str, meaning: Meaning
) -> None:
    server.answers[verb] = answer

    mail = mail_after(WEEK[:1])
    assert mail.attempt_log[-1]["cause"] == meaning.error_code
    assert (mail.status == Status.FAILED) == (meaning.tried_for == AT_ONCE)
    assert bool(mail_server.in_trouble()) == meaning.operator

    for step in WEEK[1:]:
        deliver(now=NOW + step)
    mail.refresh_from_db()
    at_fault = ErrorReason.EMAIL_ERROR if meaning.error_code == ADDRESS else ErrorReason.INTERNAL_API_ERROR
    assert (mail.status, mail.error_code, mail.error_reason) == (Status.FAILED, meaning.error_code, at_fault)
    assert mail.completed_at is not None
    assert meaning.tried_for <= mail.completed_at - NOW <= meaning.tried_for + timedelta(hours=12)
    assert server.received == []


@pytest.mark.django_db
@pytest.mark.parametrize(("verb", "answer", "meaning"), LINES, ids=lambda one: one if one is str else None)
def test_what_ends_within_a_day_fails_no_learner_but_by_her_address_or_the_message(
    server: ScriptedServer, verb: str, answer: str, meaning: Meaning
) -> None:
    server.answers[verb] = answer
    for hour in (0, 6, 12, 23):
        deliver(now=NOW + timedelta(hours=hour))
    server.answers.clear()
    deliver(now=NOW + DAY)
    deliver(now=NOW + DAY + timedelta(hours=1))

    mail = action_of(LearnerContentAssignment.objects.get(), ActionType.NOTIFIED)
    assert mail.status == (Status.FAILED if meaning.tried_for == AT_ONCE else Status.DONE)
    assert mail_server.in_trouble() is None
    assert len(server.received) == (mail.status == Status.DONE)


@pytest.mark.django_db
def test_try_again_in_300_seconds_is_not_before_and_soon_after(server: ScriptedServer) -> None:
    server.answers["RCPT"] = "451 4.7.1 Greylisted, try again in 300 seconds"
    mail = mail_after([timedelta(0), timedelta(seconds=299)])
    assert mail.attempts == 1
    server.answers.clear()
    deliver(now=NOW + timedelta(seconds=300))
    mail.refresh_from_db()
    assert (mail.status, mail.attempts) == (Status.DONE, 2)


AT_OTHER_VERBS = [
    ("connection", "554 5.7.1 Blocked for policy reasons", REFUSES_US),
    ("connection", "421 4.3.2 Too busy", BUSY),
    ("connection", "nonsense", SILENT),
    ("connection", BREAKS, SILENT),
    ("EHLO", BREAKS, SILENT),
    ("AUTH", "535 5.7.8 Authentication failed", REFUSES_US),
    ("AUTH", "454 4.7.0 Temporary authentication failure", BUSY),
    ("AUTH", "451 Authentication failed: Maximum credits exceeded", LIMIT),
    ("MAIL", "550 5.1.8 Sender's domain not found", REFUSES_US),
    ("MAIL", "452 4.3.1 Insufficient system storage", BUSY),
    ("MAIL", "552 5.3.4 Message size exceeds fixed limit", MESSAGE),
    ("MAIL", BREAKS, SILENT),
    ("RCPT", "421 4.3.2 Shutting down", BUSY),
    ("RCPT", "nonsense", SILENT),
    ("DATA", "554 5.7.1 Policy", REFUSES_US),
    ("DATA", "451 4.3.0 Try later", BUSY),
    ("DATA", "550 5.1.1 No such user", ADDRESS),
    ("DATA", "550 5.4.5 Daily user sending limit exceeded", LIMIT),
    ("DATA", "500 what", REFUSES_US),
    ("DATA", BREAKS, SILENT),
    ("message", "421 4.3.2 Shutting down", BUSY),
    ("message", "nonsense", LOST),
    ("message", BREAKS, LOST),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("verb", "answer", "error_code"), AT_OTHER_VERBS)
def test_an_answer_is_lost_only_after_the_messages_end(
    server: ScriptedServer, verb: str, answer: str, error_code: str
) -> None:
    server.answers[verb] = answer
    mail = mail_after(WEEK[:1])
    assert mail.attempt_log[-1]["cause"] == error_code
    assert (mail.status == Status.FAILED) == (error_code in (ADDRESS, MESSAGE))


@pytest.mark.django_db
def test_a_refusal_at_the_verb_data_is_tried_for_days_and_an_answer_that_is_lost_three_times(
    server: ScriptedServer,
) -> None:
    server.answers["DATA"] = "554 5.7.1 Policy"
    mail = mail_after(WEEK[:5])
    assert (mail.status, mail.attempts) == (Status.PENDING, 5)

    server.answers = {"message": BREAKS}
    for hour in range(6):
        deliver(now=NOW + WEEK[5] + timedelta(hours=hour))
    mail.refresh_from_db()
    assert (mail.status, mail.error_code, mail.attempts) == (Status.FAILED, LOST, 8)


@pytest.mark.django_db
def test_a_mail_that_was_accepted_is_not_sent_again_for_a_broken_quit(server: ScriptedServer) -> None:
    server.answers["QUIT"] = "x" * 9000
    assert mail_after(WEEK[:3]).status == Status.DONE
    assert len(server.received) == 1


@pytest.mark.django_db
def test_a_certificate_that_is_not_trusted_is_the_servers_trouble(
    server: ScriptedServer, settings: Settings
) -> None:
    settings.EMAIL_USE_SSL = True
    mail = mail_after(WEEK[:1])
    assert (mail.status, mail.attempt_log[-1]["cause"]) == (Status.PENDING, SILENT)


@pytest.mark.django_db
def test_a_server_without_the_encryption_that_the_settings_ask_for_refuses_us(
    server: ScriptedServer, settings: Settings
) -> None:
    settings.EMAIL_USE_TLS = True
    mail = mail_after(WEEK[:1])
    assert (mail.status, mail.attempt_log[-1]["cause"]) == (Status.PENDING, REFUSES_US)


WORDINGS = [
    # The address.
    ("RCPT", 550, "5.1.1 Recipient address rejected: User unknown in virtual mailbox table", ADDRESS),
    ("RCPT", 550, "Unrouteable address", ADDRESS),
    ("RCPT", 550, "Requested action not taken: mailbox unavailable", ADDRESS),
    ("RCPT", 550, "5.2.1 The email account that you tried to reach is disabled.", ADDRESS),
    ("RCPT", 501, "5.1.3 Bad recipient address syntax", ADDRESS),
    ("RCPT", 556, "5.1.10 Recipient address has null MX", ADDRESS),
    ("message", 550, "5.1.1 No such user", ADDRESS),
    # The mailbox.
    ("RCPT", 452, "4.2.2 The recipient's inbox is out of storage space and inactive.", MAILBOX),
    ("RCPT", 450, "4.2.1 The user is receiving mail at a rate that prevents additional messages", MAILBOX),
    ("RCPT", 552, "Mailbox quota exceeded", MAILBOX),
    ("RCPT", 550, "5.2.2 user has exceeded storage allocation", MAILBOX),
    ("RCPT", 550, "Rejected", MAILBOX),  # may be the address or not: a day, and no blame
    # Our limit at the provider.
    ("message", 454, "Throttling failure: Daily message quota exceeded.", LIMIT),
    ("message", 421, "4.7.28 An unusual rate of unsolicited mail originates from your IP address.", LIMIT),
    ("MAIL", 550, "5.4.5 Daily sending quota exceeded.", LIMIT),
    ("RCPT", 550, "5.1.90 Your message can't be sent because you've reached your daily limit", LIMIT),
    ("RCPT", 550, "Domain x.example has exceeded the max emails per hour (500/500) allowed.", LIMIT),
    ("RCPT", 550, "5.7.1 Daily SMTP relay limit exceeded for customer", LIMIT),
    ("RCPT", 552, "5.2.2 Your mailbox has exceeded its sending limit", LIMIT),
    ("connection", 421, "Too many concurrent connections", LIMIT),
    # The provider's policy.
    ("RCPT", 550, "5.1.0 Sender address rejected: User unknown in local recipient table", REFUSES_US),
    ("RCPT", 550, "Administrative prohibition", REFUSES_US),
    ("RCPT", 554, "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", REFUSES_US),
    ("RCPT", 553, "sorry, that domain isn't in my list of allowed rcpthosts", REFUSES_US),
    ("RCPT", 450, "4.7.1 Client host rejected: cannot find your reverse hostname", REFUSES_US),
    ("RCPT", 503, "5.5.1 Bad sequence of commands", REFUSES_US),
    ("message", 554, "Message rejected as spam", REFUSES_US),
    ("message", 554, "Message rejected: Email address is not verified.", REFUSES_US),
    # The message.
    ("message", 552, "5.3.4 Message too big for system", MESSAGE),
    ("message", 550, "A virus was found", MESSAGE),
    ("message", 554, "Transaction failed", MESSAGE),
    # The server, for now.
    ("RCPT", 452, "4.3.1 Insufficient system storage", BUSY),
    ("RCPT", 450, "4.2.0 Recipient address rejected: Greylisted", BUSY),
    ("RCPT", 550, "5.4.4 Unable to route", BUSY),
    ("message", 554, "5.3.0 System trouble", BUSY),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "code", "text", "error_code"), WORDINGS)
def test_the_fault_is_found_however_a_provider_words_it(
    verb: str, code: int, text: str, error_code: str
) -> None:
    judged = error_of_answer(Answer(verb, code, text))
    assert judged.error_code == error_code
    assert (judged.reason == ErrorReason.EMAIL_ERROR) == (error_code == ADDRESS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again in 300 seconds", 300),
        ("Greylisted for 5 minutes", 300),
        ("Greylisting in action, please come back in 00:04:30", 270),
        ("retry after 5 minutes and 30 seconds", 330),
        ("Please try again later in 2h", 7200),
        ("try again in 9999999 seconds", 86_400),
        ("try again later", 0),
        ("User 300s unknown", 0),
    ],
)
def test_the_wait_that_a_server_asks_for_is_read_and_bounded(text: str, seconds: int) -> None:
    assert asked_to_wait(text) == timedelta(seconds=seconds)
