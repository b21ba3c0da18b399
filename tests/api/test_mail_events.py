"""Reports of mail providers: accepted when they are signed, kept once, and without what names a person."""

import base64
import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from pytest_django import Settings

from bursary.assignments.choices import ActionType
from bursary.events import mail_webhook
from bursary.events.models import EventKind, EventOutcome, InboxEvent
from tests import mail_reports
from tests.api.door import Answer, Door
from tests.mail_reports import ANYMAIL, REPORTED_AT, report, send
from tests.world import ALICE, NOW, deliver, given_assignment

pytestmark = pytest.mark.django_db

READ = [  # the report; what it says, whether the address is at fault, the server's codes
    ("mailgun-delivered", ActionType.DELIVERED, False, ""),
    ("mailgun-failed-permanent", ActionType.BOUNCED, True, "550 5.1.1"),
    ("mailgun-failed-by-policy", ActionType.BOUNCED, False, "554 5.7.1"),  # that is about us
    ("mailgun-failed-suppressed", ActionType.BOUNCED, True, ""),
    ("mailgun-failed-old", ActionType.BOUNCED, False, ""),
    ("mailgun-complained", ActionType.COMPLAINED, False, ""),
    ("resend-delivered", ActionType.DELIVERED, False, ""),
    ("resend-bounced", ActionType.BOUNCED, True, ""),
    ("resend-bounced-transient", ActionType.BOUNCED, False, ""),
    ("resend-suppressed", ActionType.BOUNCED, True, ""),
    ("resend-complained", ActionType.COMPLAINED, False, ""),
]


@pytest.fixture(autouse=True)
def listening(settings: Settings) -> Iterator[None]:
    settings.ANYMAIL = ANYMAIL | {"WEBHOOK_SECRET": "mail:a password of some length"}
    with time_machine.travel(REPORTED_AT, tick=False):
        yield


def test_each_report_is_kept_as_what_it_says_without_the_address(subtests: pytest.Subtests) -> None:
    for name, fact, permanent, code in READ:
        with subtests.test(name):
            mail = uuid4()
            answer = send(name, mail, delivery=f"id-{mail}")
            assert (answer.status_code, answer.json()) == (200, {"no_change": False})
            kept = InboxEvent.objects.latest("pk")
            assert kept.event_id == f"{name.partition('-')[0]}:id-{mail}"
            assert kept.kind == EventKind.MAIL_REPORTED
            assert kept.payload == {
                "fact": fact, "at": kept.payload["at"], "mail": str(mail), "provider_ref": "",
                "permanent": permanent, "code": code,
            }  # fmt: skip
            assert kept.payload["at"].startswith("2026-03-02T09:01:05.238")
            assert "alice" not in json.dumps(kept.payload)


def test_what_needs_no_answer_is_not_kept() -> None:
    for name in ("mailgun-opened", "mailgun-failed-temporary", "resend-delayed"):
        assert send(name, uuid4()).json() == {"no_change": True}
    assert not InboxEvent.objects.exists()


def test_a_report_that_comes_twice_is_one() -> None:
    mail = uuid4()
    for name in ("mailgun-delivered", "resend-delivered"):
        assert [send(name, mail).json()["no_change"] for _ in range(2)] == [False, True]
    assert InboxEvent.objects.count() == 2


def test_one_signature_of_mailgun_serves_one_report() -> None:
    """It signs a time and a token alone: with another body they are a forgery."""
    mail = uuid4()
    send("mailgun-delivered", mail, delivery="token")
    forged = send("mailgun-failed-permanent", mail, delivery="token")
    assert forged.json() == {"no_change": True}
    assert [one.payload["fact"] for one in InboxEvent.objects.all()] == ["delivered"]


def _without_signature(provider: str) -> Answer:
    return Door().send(
        "POST", f"mail-events/{provider}/", json.dumps(report(f"{provider}-delivered", "")).encode()
    )


FORGED, OLD, UNSIGNED = "webhook_signature_wrong", "webhook_timestamp_wrong", "webhook_headers_missing"
AN_HOUR_TOO_OLD = REPORTED_AT - mail_webhook.MAILGUN_RETRIES - timedelta(hours=1)
SIX_MINUTES_AGO = NOW - timedelta(minutes=6)
ANOTHER = "whsec_" + "c2" * 16
TOO_LARGE = b"x" * (mail_webhook.LARGEST_BODY + 1)


def _raw(provider: str, body: bytes) -> Answer:
    return Door().send("POST", f"mail-events/{provider}/", body)


def _announced(length: str) -> Answer:
    return Door().send("POST", "mail-events/mailgun/", b"{}", CONTENT_LENGTH=length)


def _signed_with(signature: str) -> bytes:
    signed = {"timestamp": str(int(REPORTED_AT.timestamp())), "token": "t" * 50, "signature": signature}
    return json.dumps({"signature": signed}).encode()


REFUSED: list[tuple[str, Any, int, str]] = [
    ("mailgun, another key", lambda: send("mailgun-delivered", "", key="another"), 401, FORGED),
    ("resend, another key", lambda: send("resend-delivered", "", key=ANOTHER), 401, FORGED),
    ("mailgun, old", lambda: send("mailgun-delivered", "", at=AN_HOUR_TOO_OLD), 401, OLD),
    ("resend, old", lambda: send("resend-delivered", "", at=SIX_MINUTES_AGO), 401, OLD),
    ("mailgun, unsigned", lambda: _without_signature("mailgun"), 401, UNSIGNED),
    ("resend, unsigned", lambda: _without_signature("resend"), 401, UNSIGNED),
    ("mailgun, half a character", lambda: _raw("mailgun", _signed_with("\ud800")), 401, FORGED),
    ("no object", lambda: _raw("mailgun", b"[]"), 401, UNSIGNED),
    ("no JSON", lambda: _raw("mailgun", b"{"), 400, "invalid_request"),
    ("no password", lambda: _raw("postmark", b"{}"), 401, FORGED),
    ("no provider", lambda: _raw("pigeons", b"{}"), 404, "not_found"),
    ("too large by far", lambda: _announced("9" * 5000), 413, "body_too_large"),
    ("too large", lambda: _raw("mailgun", TOO_LARGE), 413, "body_too_large"),
]


def test_what_is_forged_old_or_too_large_is_refused_and_not_kept(subtests: pytest.Subtests) -> None:
    for name, sent, code, reason in REFUSED:
        with subtests.test(name):
            answer = sent()
            assert answer.status_code == code
            body = answer.json()
            assert (body[0] if isinstance(body, list) else body)["reason"] == reason
    assert not InboxEvent.objects.exists()


def test_a_report_that_cannot_be_checked_is_refused_and_the_log_says_which_setting_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Mandrill signs with a key of its own, besides the password."""
    for name, logged in (("postmark", False), ("mandrill", True)):
        caplog.clear()
        assert _raw(name, b"{}").status_code == 401
        password = base64.b64encode(b"mail:a password of some length").decode()
        Door().send("POST", f"mail-events/{name}/", b"[]", HTTP_AUTHORIZATION=f"Basic {password}")
        assert ("MANDRILL_WEBHOOK_KEY" in caplog.text) is logged
        assert "a password" not in caplog.text


def test_without_its_secret_a_provider_is_not_listened_to(settings: Settings) -> None:
    settings.ANYMAIL = {"MAILGUN_API_KEY": "a key that the library would take instead"}
    for name in ("mailgun-delivered", "resend-delivered"):
        answer = send(name, uuid4(), key="whsec_" + "c2" * 16)
        assert (answer.status_code, answer.json()["reason"]) == (404, "webhooks_not_enabled")


@pytest.mark.parametrize(("provider", "setting"), [("mailgun", mail_webhook.MAILGUN_KEY), ("postmark", "")])
def test_without_the_library_a_provider_is_answered_as_without_its_secret_and_what_is_missing_is_named(
    provider: str, setting: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "anymail", None)
    settings.ANYMAIL = {}
    missing = setting or mail_webhook.PASSWORD
    for step in (f"Have BURSARY_ANYMAIL_{missing} set", "Have bursary[anymail] installed"):
        answer = _raw(provider, b"{}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "webhooks_not_enabled")
        assert answer.json()["next_step"] == f"{step}, then send it again."
        settings.ANYMAIL = {missing: "a secret of some length"}
    assert _raw("no-name", b"{}").json()["reason"] == "not_found"


def test_another_provider_reports_with_the_password_in_its_address() -> None:
    """The body is Postmark's, as it documents it."""
    mail = uuid4()
    body = {
        "RecordType": "Bounce", "Type": "HardBounce", "TypeCode": 1, "ID": 4323372036854775807,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483", "Metadata": {"action": str(mail)},
        "Description": "The server was unable to deliver it", "Details": "smtp;550 5.1.1 unknown user",
        "Email": ALICE, "BouncedAt": "2026-03-02T09:01:05Z", "Inactive": True, "CanActivate": True,
    }  # fmt: skip
    password = base64.b64encode(b"mail:a password of some length").decode()
    answer = Door().send(
        "POST", "mail-events/postmark/", json.dumps(body).encode(), HTTP_AUTHORIZATION=f"Basic {password}"
    )
    assert (answer.status_code, answer.json()) == (200, {"no_change": False})
    kept = InboxEvent.objects.get().payload
    assert (kept["fact"], kept["mail"], kept["permanent"]) == (ActionType.BOUNCED, str(mail), True)


def test_a_signed_report_that_cannot_be_read_is_set_aside() -> None:
    answer = send("resend-delivered", uuid4(), type=["no", "word"])
    assert answer.status_code == 200
    assert InboxEvent.objects.get().outcome == EventOutcome.UNREADABLE


def test_a_report_without_the_action_is_found_by_the_providers_name_for_the_mail() -> None:
    mail = given_assignment().actions.get(action_type=ActionType.NOTIFIED)
    deliver()
    mail.refresh_from_db()
    name = report("mailgun-delivered", "")["event-data"]["message"]["headers"]["message-id"]
    type(mail).objects.filter(pk=mail.pk).update(provider_ref=f"<{name}>")
    send("mailgun-delivered", "none")
    assert mail_reports.apply() == {"recorded": 1}
