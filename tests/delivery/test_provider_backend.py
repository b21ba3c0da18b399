"""Mails by a provider's API: what it is sent, and how its answers are read. Answers as the providers document
them."""

import json
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from pytest_django import Settings

from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.delivery import provider_answers
from bursary.delivery.models import MailServer
from bursary.lib import leases
from tests.elapsed import AT_ONCE, taking_at_most
from tests.mail_provider import MailProvider, mail_provider
from tests.world import ALICE, NOW, action_of, deliver, given_assignment

pytestmark = pytest.mark.django_db

DEADLINE = timedelta(seconds=2)  # in which a busy machine hands a mail over
MAILGUN_ACCEPTS: tuple[int, dict[str, str], object] = (
    200,
    {},
    {"id": "<20260302.1@mg.example>", "message": "Queued. Thank you."},
)
RESEND_ACCEPTS: tuple[int, dict[str, str], object] = (200, {}, {"id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"})


@pytest.fixture
def provider(settings: Settings) -> Iterator[MailProvider]:
    settings.EMAIL_BACKEND = "bursary.delivery.provider_backend.configured"
    settings.DEFAULT_FROM_EMAIL = "Bursary <bursary@mg.example>"
    with mail_provider() as running:
        settings.ANYMAIL = {
            "MAILGUN_API_KEY": "key-mailgun",
            "MAILGUN_API_URL": f"{running.url}/v3",
            "RESEND_API_KEY": "key-resend",
            "RESEND_API_URL": running.url,
            "REQUESTS_TIMEOUT": (2, 5),
        }
        yield running


def test_mailgun_is_sent_the_mail_with_its_action_and_its_name_for_it_is_kept(
    provider: MailProvider, settings: Settings
) -> None:
    settings.MAIL_PROVIDER, provider.answer = "mailgun", MAILGUN_ACCEPTS
    mail = action_of(given_assignment(), ActionType.NOTIFIED)

    deliver()

    posted = provider.posted[0]
    fields = {name: values[0] for name, values in parse_qs(posted.body).items()}
    assert posted.path == "/v3/mg.example/messages"
    assert posted.headers["Authorization"].startswith("Basic ")
    assert (fields["to"], fields["v:action"]) == (ALICE, str(mail.uuid))
    assert str(mail.uuid) in fields["h:Message-Id"]
    assert "has assigned you a course" in fields["text"]
    assert "has assigned you a course" in fields["html"]
    mail.refresh_from_db()
    assert (mail.status, mail.provider_ref) == (Status.DONE, "<20260302.1@mg.example>")


def test_resend_is_sent_the_action_as_idempotency_key_at_each_attempt(
    provider: MailProvider, settings: Settings
) -> None:
    settings.MAIL_PROVIDER = "resend"
    mail = action_of(given_assignment(), ActionType.NOTIFIED)
    provider.answer = (500, {}, {"name": "internal_server_error", "message": "An unexpected error."})
    deliver()
    provider.answer = RESEND_ACCEPTS
    _at_once()
    deliver(now=NOW + timedelta(hours=1))

    assert [one.headers["Idempotency-Key"] for one in provider.posted] == [str(mail.uuid)] * 2
    assert json.loads(provider.posted[1].body)["to"] == [ALICE]
    mail.refresh_from_db()
    assert (mail.status, mail.provider_ref) == (Status.DONE, "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794")


def test_a_mail_that_resend_had_accepted_before_is_done(provider: MailProvider, settings: Settings) -> None:
    settings.MAIL_PROVIDER = "resend"
    known = {"statusCode": 409, "name": "invalid_idempotent_request", "message": "Same key, other body."}
    provider.answer = (409, {}, known)
    mail = action_of(given_assignment(), ActionType.NOTIFIED)

    deliver()

    mail.refresh_from_db()
    assert (mail.status, mail.provider_ref) == (Status.DONE, f"<{mail.uuid}@testserver>")


REFUSES_US, BUSY, LIMIT = "mail_server_refuses_us", "mail_server_busy", "sending_limit_reached"
REJECTED, REFUSED, IN_DOUBT = "address_rejected", "message_refused", "answer_lost"
NOT_TO = "to parameter is not a valid address. please check documentation"
NO_ADDRESS = "Invalid `to` field. The email address needs to follow the `email@example.com` format."
UNVERIFIED = "The mg.example domain is not verified. Please, add and verify your domain."
ANSWERS: list[tuple[str, int, dict[str, str], object, str, bool, bool]] = [
    # Provider, status, headers, body; the error code, whether it is final, whether the other mails wait.
    ("mailgun", 401, {}, "Forbidden", REFUSES_US, False, True),
    ("mailgun", 402, {}, {"message": "Account disabled"}, REFUSES_US, False, True),
    ("mailgun", 404, {}, {"message": "Domain not found: mg.example"}, REFUSES_US, False, True),
    ("mailgun", 400, {}, {"message": NOT_TO}, REJECTED, True, False),
    ("mailgun", 400, {}, {"message": "from parameter is not a valid address"}, REFUSES_US, False, True),
    (
        "mailgun",
        400,
        {},
        {"message": "Need at least one of 'text' or 'html' specified"},
        REFUSED,
        True,
        False,
    ),
    ("mailgun", 429, {}, {"message": "Recipient limit exceeded"}, LIMIT, False, True),
    ("mailgun", 503, {}, "upstream", BUSY, False, True),
    ("mailgun", 502, {}, "<html>Bad Gateway</html>", IN_DOUBT, False, False),
    ("mailgun", 200, {}, "no JSON", IN_DOUBT, False, False),
    ("resend", 403, {}, {"name": "validation_error", "message": UNVERIFIED}, REFUSES_US, False, True),
    ("resend", 422, {}, {"name": "validation_error", "message": NO_ADDRESS}, REJECTED, True, False),
    ("resend", 429, {"Retry-After": "3600"}, {"name": "daily_quota_exceeded"}, LIMIT, False, True),
    ("resend", 429, {"Retry-After": "9" * 5000}, {"name": "rate_limit_exceeded"}, LIMIT, False, True),
    ("resend", 409, {}, {"name": "concurrent_idempotent_requests"}, BUSY, False, True),
    ("resend", 504, {}, "", BUSY, False, True),  # it knows the key: repeating makes no second mail
]


def test_an_answer_is_read_as_what_is_at_fault(
    provider: MailProvider, settings: Settings, subtests: pytest.Subtests
) -> None:
    mail = action_of(given_assignment(), ActionType.NOTIFIED)
    for name, status, headers, body, error_code, final, holds in ANSWERS:
        with subtests.test(name, status=status, body=body):
            settings.MAIL_PROVIDER, provider.answer = name, (status, headers, body)
            _at_once()
            MailServer.objects.all().delete()
            deliver()
            mail.refresh_from_db()
            said = mail.last_error
            assert (said["error_code"], mail.status == Status.FAILED) == (error_code, final), said["detail"]
            assert bool(MailServer.objects.filter(due_at__isnull=False)) is holds
            assert "key-" not in f"{mail.attempt_log}{mail.traceback}"


def test_a_limit_is_waited_for_as_long_as_the_provider_asks() -> None:
    minute = timedelta(minutes=1)
    assert provider_answers.error_of_response(429, "", wait=minute).wait == minute
    assert provider_answers.error_of_response(429, "Quota").wait == timedelta(minutes=10)
    assert provider_answers.error_of_response(429, "", wait=timedelta(days=90)).wait == timedelta(days=1)


def test_a_provider_that_does_not_answer_is_cut_off_and_leaves_the_mail_in_doubt(
    provider: MailProvider, settings: Settings
) -> None:
    settings.MAIL_PROVIDER, settings.SEND_DEADLINE = "mailgun", DEADLINE
    provider.hangs = threading.Event()
    assignment, began = given_assignment(), time.monotonic()

    with taking_at_most(AT_ONCE):
        deliver()

    assert time.monotonic() - began > DEADLINE.total_seconds()
    assert _error_code(assignment) == "answer_lost"


def test_a_provider_that_is_away_is_unreachable_and_the_mail_was_not_handed_over(
    provider: MailProvider, settings: Settings
) -> None:
    settings.MAIL_PROVIDER = "mailgun"
    settings.ANYMAIL |= {"MAILGUN_API_URL": "http://127.0.0.1:1/v3"}
    assignment = given_assignment()

    deliver()

    assert _error_code(assignment) == "mail_server_unreachable"


def _error_code(assignment: LearnerContentAssignment) -> Any:
    return action_of(assignment, ActionType.NOTIFIED).attempt_log[-1]["cause"]


def _at_once() -> None:
    """Have each mail tried anew, as if nothing had been answered."""
    LearnerContentAssignmentAction.objects.filter(action_type=ActionType.NOTIFIED).update(
        status=Status.PENDING, due_at=NOW, early=leases.NOT_BEFORE, lease_until=None, completed_at=None,
        error_reason="", error_code="", attempt_log=[],
    )  # fmt: skip
    MailServer.objects.all().delete()
