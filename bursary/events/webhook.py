"""Verification of webhooks in the format of Standard Webhooks: sender, time and body."""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from standardwebhooks import Webhook, WebhookVerificationError

from bursary.events.models import LONGEST_ID
from bursary.lib.numbers import from_digits

LARGEST_BODY = 64 * 1024  # bytes
TOLERANCE = timedelta(minutes=5)
"""The greatest difference of a sender's clock, and the time within which a delivery may be repeated."""
LEAST_SECRET = 24  # bytes

_ID = re.compile(rf"[!-~]{{1,{LONGEST_ID}}}")
_SIGNED = ("id", "timestamp", "signature")
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
    """Raise WebhookRefused unless a secret is configured."""
    if not settings.WEBHOOK_SECRETS:
        raise WebhookRefused(
            "webhooks_not_enabled",
            "This installation takes no webhooks.",
            "Have BURSARY_WEBHOOK_SECRETS set, then send it again.",
        )


def verify(headers: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """Return the id of a delivery that one of the configured secrets has signed. Raises WebhookRefused."""
    require_listening()
    return verify_signed(
        headers, body, secrets=settings.WEBHOOK_SECRETS, setting="BURSARY_WEBHOOK_SECRETS", now=now
    )


def verify_signed(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[str],
    setting: str,
    now: datetime,
    prefix: str = "webhook",
) -> str:
    """Return the id of a delivery that one of the secrets has signed. Raises WebhookRefused.

    `prefix` begins the names of the headers. `setting` is named in the refusal.
    """
    signed = {f"webhook-{name}": headers.get(f"{prefix}-{name}", "") for name in _SIGNED}
    if not all(signed.values()) or not _ID.fullmatch(signed["webhook-id"]):
        raise WebhookRefused(
            "webhook_headers_missing",
            f"It has no {prefix}-id (at most {LONGEST_ID} characters without spaces), {prefix}-timestamp "
            f"and {prefix}-signature.",
            "Sign it as Standard Webhooks says.",
        )
    require_recent(signed["webhook-timestamp"], now=now)
    # The library fails at the first malformed signature, even if another one is good.
    signatures = filter(_SIGNATURE.fullmatch, signed["webhook-signature"].split())
    signed["webhook-signature"] = " ".join(signatures)
    if not any(_signed_with(secret, signed, body) for secret in secrets):
        raise WebhookRefused(
            "webhook_signature_wrong",
            f"Its signature matches no secret of {setting} for this id, time and body.",
            "Check the secret, and that the body is sent byte for byte as it was signed.",
        )
    return signed["webhook-id"]


def usable(secret: str) -> bool:
    """Return whether a secret is `whsec_` and base64 of at least 24 bytes, as the standard requires."""
    encoded = secret.removeprefix("whsec_")
    try:
        return len(b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)) >= LEAST_SECRET
    except ValueError:
        return False


def require_recent(timestamp: str, *, now: datetime, tolerance: timedelta = TOLERANCE) -> None:
    """Raise WebhookRefused unless a time, in seconds since 1970, is within `tolerance` of now."""
    seconds = from_digits(timestamp, max_digits=12) or 0
    if abs(now.timestamp() - seconds) > tolerance.total_seconds():
        raise WebhookRefused(
            "webhook_timestamp_wrong",
            f"Its timestamp is more than {tolerance.total_seconds() / 60:.0f} minutes away from now, or no "
            "whole number of seconds.",
            "Set the clock; sign again for each attempt.",
        )


def _signed_with(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        Webhook(secret).verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: a body that is not text
        return False
    return True
