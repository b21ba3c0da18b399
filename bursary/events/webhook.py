"""Verification of webhooks in the format of Standard Webhooks: sender, time and body."""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from standardwebhooks import Webhook, WebhookVerificationError

LARGEST_BODY = 64 * 1024  # bytes
TOLERANCE = timedelta(minutes=5)
"""How far a sender's clock may differ, and how long a delivery may be repeated unchanged."""
LEAST_SECRET = 24  # bytes

_ID = re.compile(r"[!-~]{1,255}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{43}=")  # of 32 bytes


@dataclass
class WebhookRefused(Exception):
    """The delivery is not authentic, or no webhooks are configured. Nothing was stored."""

    reason: str
    sentence: str
    next_step: str

    def __str__(self) -> str:
        return self.sentence


def require_listening() -> None:
    """Raise WebhookRefused unless there is a secret to verify with."""
    if not settings.WEBHOOK_SECRETS:
        raise WebhookRefused(
            "webhooks_not_enabled",
            "This installation takes no webhooks.",
            "Have BURSARY_WEBHOOK_SECRETS set, then send it again.",
        )


def verify(headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """Return the id of a delivery that one of the secrets has signed, body and all. Raises WebhookRefused."""
    require_listening()
    signed = {
        name: headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    }
    if not all(signed.values()) or not _ID.fullmatch(signed["webhook-id"]):
        raise WebhookRefused(
            "webhook_headers_missing",
            "It has no webhook-id (at most 255 characters without spaces), webhook-timestamp and "
            "webhook-signature.",
            "Sign it as Standard Webhooks says.",
        )
    _require_recent(signed["webhook-timestamp"], now=now)
    # The library fails at the first malformed signature, and a good one may stand beside it.
    signatures = filter(_SIGNATURE.fullmatch, signed["webhook-signature"].split())
    signed["webhook-signature"] = " ".join(signatures)
    if not any(_signed_with(secret, signed, body) for secret in settings.WEBHOOK_SECRETS):
        raise WebhookRefused(
            "webhook_signature_wrong",
            "Its signature matches no secret of BURSARY_WEBHOOK_SECRETS for this id, time and body.",
            "Check the secret, and that the body is sent byte for byte as it was signed.",
        )
    return signed["webhook-id"]


def usable(secret: str) -> bool:
    """Return whether a secret is `whsec_` and base64 of at least 24 bytes, as the standard demands."""
    encoded = secret.removeprefix("whsec_")
    try:
        return len(b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)) >= LEAST_SECRET
    except ValueError:
        return False


def _require_recent(timestamp: str, *, now: datetime) -> None:
    seconds = int(timestamp) if _SECONDS.fullmatch(timestamp) else 0
    if abs(now.timestamp() - seconds) > TOLERANCE.total_seconds():
        raise WebhookRefused(
            "webhook_timestamp_wrong",
            "Its webhook-timestamp is more than five minutes away from now, or no whole number of seconds.",
            "Set the clock; sign again for each attempt.",
        )


def _signed_with(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: a body that is no text
        return False
    return True
