"""Webhooks about content: accepted when they are signed, kept once, refused with a reason otherwise."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from pytest_django import Settings
from standardwebhooks import Webhook

from bursary.assignments import redemption
from bursary.assignments.choices import State
from bursary.events import inbox, webhook
from bursary.events.models import InboxEvent
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door
from tests.world import NOW, deliver, given_assignment, given_content

pytestmark = pytest.mark.django_db

OLD = "whsec_" + base64.b64encode(b"the old secret, of enough bytes").decode()
NEW = "whsec_" + base64.b64encode(b"the new secret, of enough bytes").decode()
SOMEBODY = 470_011_223_344  # so long that no made-up UUID holds it by chance
CHANGED = {"type": "content.changed", "data": {"content_keys": ["RiversideX+T7"]}}


@pytest.fixture(autouse=True)
def listening(settings: Settings) -> Iterator[None]:
    settings.WEBHOOK_SECRETS = [NEW, OLD]
    with time_machine.travel(NOW, tick=False):
        yield


def send(
    body: object = CHANGED,
    *,
    secret: str = NEW,
    event_id: str = "msg_1",
    at: datetime = NOW,
    **headers: str,
) -> Answer:
    """Send a body, signed by the library that senders use; `headers` replace what it would send."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    text = raw.decode("latin-1")
    signed = {
        "HTTP_WEBHOOK_ID": event_id,
        "HTTP_WEBHOOK_TIMESTAMP": str(int(at.timestamp())),
        "HTTP_WEBHOOK_SIGNATURE": Webhook(secret).sign(event_id, at, text),
    }
    return Door().send("POST", "content-events/", raw, **signed | headers)


def refused(answer: Answer, code: int, reason: str) -> None:
    assert (answer.status_code, reason_of(answer.json())) == (code, reason)
    assert not InboxEvent.objects.exists()


def reason_of(body: Any) -> str:
    refusal = body[0] if isinstance(body, list) else body
    assert refusal["next_step"]
    assert refusal.get("detail") or refusal["user_message"]
    return str(refusal["reason"])


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_a_signed_change_is_stored_and_then_requests_a_refresh(secret: str) -> None:
    content = given_content("RiversideX+T7", due_at=NOW + timedelta(days=1))
    answer = send(secret=secret)
    assert (answer.status_code, answer.json()) == (202, {"no_change": False})
    event = InboxEvent.objects.get()
    assert (event.source, event.event_id, event.payload) == ("webhook", "msg_1", CHANGED["data"])
    content.refresh_from_db()
    assert content.change_announced_at is None

    inbox.apply_due(clock=lambda: NOW)

    assert ContentMetadata.objects.exclude(content_type="courserun").get().change_announced_at == NOW


def test_a_signed_reversal_reverses() -> None:
    assignment = given_assignment()
    redemption.begin(assignment, now=NOW)
    deliver()
    assignment.refresh_from_db()
    data = {"transaction_uuid": str(assignment.transaction_uuid), "lms_user_id": SOMEBODY}
    assert send({"type": "transaction.reversed", "data": data}).status_code == 202
    assert str(SOMEBODY) not in str(InboxEvent.objects.values())
    inbox.apply_due(clock=lambda: NOW)
    assignment.refresh_from_db()
    assert assignment.state == State.REVERSED


def test_it_is_signed_as_the_standard_says_by_hand() -> None:
    body = json.dumps(CHANGED).encode()
    stamp = int(NOW.timestamp())
    key = base64.b64decode(NEW.removeprefix("whsec_"))
    mac = hmac.new(key, f"msg_1.{stamp}.".encode() + body, hashlib.sha256).digest()
    answer = send(body, HTTP_WEBHOOK_SIGNATURE=f"v1,{base64.b64encode(mac).decode()}")
    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (["K"], "data: This is not a JSON object."),
        ({"content_keys": "K"}, "content_keys: This is not a list."),
    ],
)
def test_data_of_another_kind_are_refused_with_the_kind_that_is_needed(data: object, detail: str) -> None:
    answer = send(json.dumps({"type": "content.changed", "data": data}).encode())
    refused(answer, 400, "invalid_request")
    assert answer.json()["detail"] == detail


def test_a_repetition_changes_nothing() -> None:
    given_content("RiversideX+T7")
    send()
    inbox.apply_due(clock=lambda: NOW)
    answer = send(at=NOW + timedelta(minutes=1))
    assert (answer.status_code, answer.json()) == (202, {"no_change": True})
    assert inbox.apply_due(clock=lambda: NOW + timedelta(hours=1)) == {}


def test_the_repetition_of_an_old_one_is_refused() -> None:
    refused(send(at=NOW - timedelta(minutes=5, seconds=1)), 401, "webhook_timestamp_wrong")
    refused(send(at=NOW + timedelta(minutes=5, seconds=1)), 401, "webhook_timestamp_wrong")
    assert send(at=NOW - timedelta(minutes=5)).status_code == 202


@pytest.mark.parametrize("stamp", ["soon", "nan", "inf", "-1", "1" * 13, "1" * 5000, "٣", "1772442000.5"])
def test_a_time_that_is_none_is_refused(stamp: str) -> None:
    refused(send(HTTP_WEBHOOK_TIMESTAMP=stamp), 401, "webhook_timestamp_wrong")


@pytest.mark.parametrize(
    "signature",
    [
        "v1,AAAA",
        "v1,not base64!",
        "v1",
        ",",
        "v1,,",
        "v2,AAAA",
        "v1a,AAAA v1,AAAA",
        "ü",
        Webhook(OLD).sign("msg_2", NOW, json.dumps(CHANGED)),
        Webhook(OLD).sign("msg_1", NOW, json.dumps(CHANGED) + " "),
        Webhook(OLD).sign("msg_1", NOW - timedelta(seconds=1), json.dumps(CHANGED)),
        Webhook("whsec_" + base64.b64encode(b"x" * 32).decode()).sign("msg_1", NOW, json.dumps(CHANGED)),
    ],
)
def test_a_signature_that_is_not_ours_is_refused(signature: str) -> None:
    refused(send(HTTP_WEBHOOK_SIGNATURE=signature), 401, "webhook_signature_wrong")


def test_one_good_signature_among_others_is_enough() -> None:
    good = Webhook(NEW).sign("msg_1", NOW, json.dumps(CHANGED))
    assert send(HTTP_WEBHOOK_SIGNATURE=f"v1a,AAAA v1,AAAA {good}").status_code == 202


@pytest.mark.parametrize(
    "beside", ["garbage", "v1", "v1,", ",", "v1,a,b", "v1,not/base64/of/the/length/", "v1,!!!*é", "v1,AAAA "]
)
def test_a_malformed_signature_does_not_spoil_the_good_one_beside_it(beside: str) -> None:
    good = Webhook(NEW).sign("msg_1", NOW, json.dumps(CHANGED))
    assert send(HTTP_WEBHOOK_SIGNATURE=f"{beside} {good}").status_code == 202
    assert send(HTTP_WEBHOOK_SIGNATURE=f"{good} {beside}").status_code == 202


@pytest.mark.parametrize("missing", ["ID", "TIMESTAMP", "SIGNATURE"])
def test_a_header_that_is_missing_is_named(missing: str) -> None:
    headers: dict[str, Any] = {f"HTTP_WEBHOOK_{missing}": ""}
    refused(send(**headers), 401, "webhook_headers_missing")


@pytest.mark.parametrize("event_id", ["x" * 256, "two words", "ünique"])
def test_an_id_that_could_not_be_kept_is_refused(event_id: str) -> None:
    refused(send(HTTP_WEBHOOK_ID=event_id), 401, "webhook_headers_missing")


def test_an_api_key_is_neither_needed_nor_enough() -> None:
    refused(Door(key="whatever").post("content-events/", CHANGED), 401, "webhook_headers_missing")


def test_a_huge_body_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "verify", lambda *_what, **_more: pytest.fail("It was read."))
    refused(send(b"x" * (64 * 1024 + 1)), 413, "body_too_large")


def test_a_body_of_unknown_length_is_refused_as_what_it_is() -> None:
    answer = send(CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")
    refused(answer, 411, "length_required")
    assert "Content-Length" in answer.json()["next_step"]


def test_an_id_used_for_two_different_events_is_logged_by_id_and_kinds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    send()
    send()
    assert not caplog.records

    data = {"transaction_uuid": "6f0e6f0e-1f6e-4b43-9d0c-2f6d0a9c6a11"}
    assert send({"type": "transaction.reversed", "data": data}).json() == {"no_change": True}
    send({"type": "content.changed", "data": {"content_keys": ["RiversideX+T8"]}})

    said = [record.getMessage() for record in caplog.records if record.name == "bursary.events.inbox"]
    assert [one.partition(" but ")[0] for one in said] == [
        "Event msg_1 (content.changed, by webhook) is known,",
        "Event msg_1 (content.changed, by webhook) is known,",
    ]
    assert "transaction.reversed" in said[0]
    assert "RiversideX" not in said[1]


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"", 400, "invalid_request"),
        (b"no json", 400, "invalid_request"),
        (b"[" * 60_000, 400, "invalid_request"),
        (b"\xff\xfe", 401, "webhook_signature_wrong"),
        ([], 400, "invalid_request"),
        ({"type": "content.changed"}, 400, "invalid_request"),
        ({"type": "content.changed", "data": {"content_keys": []}}, 400, "invalid_request"),
        ({"type": "content.changed", "data": {"content_keys": ["K"] * 101}}, 400, "invalid_request"),
        ({"type": "content.changed", "data": {"content_keys": ["two words"]}}, 400, "invalid_request"),
        ({"type": "content.changed", "data": {"content_keys": ["K\0"]}}, 400, "invalid_request"),
        ({"type": "content.changed", "data": {"content_keys": ["\ud800"]}}, 400, "invalid_request"),
        ({"type": "content.changed", "data": {"content_keys": [7]}}, 400, "invalid_request"),
        ({"type": "transaction.reversed", "data": {"transaction_uuid": "7"}}, 400, "invalid_request"),
        ({"type": "user.registered", "data": {}}, 422, "unknown_event_type"),
    ],
)
def test_a_signed_body_must_still_say_something(body: object, code: int, reason: str) -> None:
    answer = send(body)
    if reason:
        refused(answer, code, reason)
    assert answer.status_code == code


def test_without_a_secret_webhooks_are_refused(settings: Settings) -> None:
    settings.WEBHOOK_SECRETS = []
    refused(send(), 404, "webhooks_not_enabled")
    assert Door().get("content-events/").status_code == 405


def test_reading_is_not_allowed() -> None:
    refused(Door().get("content-events/"), 405, "method_not_allowed")
