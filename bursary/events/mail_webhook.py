"""Verification of mail providers' reports: Mailgun's and Resend's signatures, a password for any other.

Mailgun signs a time and a token, but not the event. The token is the event's id, so that a signature is valid
for one event only.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from bursary.events import webhook
from bursary.events.webhook import WebhookRefused

LARGEST_BODY = 1024 * 1024  # bytes: some providers report hundreds of mails at once
MAILGUN_RETRIES = timedelta(hours=12)
"""The greatest age of a report; Mailgun repeats one for eight hours. The inbox keeps its token for longer."""
MAILGUN_KEY, RESEND_SECRET, PASSWORD = (
    "MAILGUN_WEBHOOK_SIGNING_KEY",
    "RESEND_SIGNING_SECRET",
    "WEBHOOK_SECRET",
)  # settings' names
_TOKEN = 255  # characters


def require_listening(provider: str) -> None:
    """Raise WebhookRefused unless reports of this provider can be verified."""
    name = {"mailgun": MAILGUN_KEY, "resend": RESEND_SECRET}.get(provider, PASSWORD)
    if not settings.ANYMAIL.get(name):
        raise WebhookRefused(
            "webhooks_not_enabled",
            "This installation takes no reports of this mail provider.",
            f"Have BURSARY_ANYMAIL_{name} set, then send it again.",
        )


def verify(provider: str, request: HttpRequest, content: Mapping[str, Any], *, now: datetime) -> str:
    """Return the delivery's id, empty if it has none. Raises WebhookRefused.

    `content` is the JSON value of the request's body, which the caller has read.
    """
    require_listening(provider)
    if provider == "resend":
        secret = settings.ANYMAIL[RESEND_SECRET]
        return webhook.verify_signed(
            request.headers,
            request.body,
            secrets=[secret],
            setting=f"BURSARY_ANYMAIL_{RESEND_SECRET}",
            prefix="svix",
            now=now,
        )
    if provider == "mailgun":
        return _verify_mailgun(content.get("signature"), now=now)
    return ""


def _verify_mailgun(signature: object, *, now: datetime) -> str:
    signed = signature if isinstance(signature, dict) else {}
    timestamp, token, given = (str(signed.get(name, "")) for name in ("timestamp", "token", "signature"))
    if not (timestamp and given and 0 < len(token) <= _TOKEN):
        raise WebhookRefused(
            "webhook_headers_missing",
            "It has no signature with timestamp, token and signature.",
            "Send it as Mailgun does.",
        )
    webhook.require_recent(timestamp, now=now, tolerance=MAILGUN_RETRIES)
    key = settings.ANYMAIL[MAILGUN_KEY].encode()
    expected = hmac.new(key, f"{timestamp}{token}".encode(errors="replace"), hashlib.sha256).hexdigest()
    if not constant_time_compare(given.encode(errors="replace"), expected):
        raise WebhookRefused(
            "webhook_signature_wrong",
            f"Its signature does not match BURSARY_ANYMAIL_{MAILGUN_KEY} for this time and token.",
            "Check the key: it is another than the one for sending.",
        )
    return token
