"""Reports of mail providers, signed as they sign them.

The bodies in `tests/data/mail-reports` are written from what Mailgun and Resend document of their webhooks,
with made-up people. ACTION stands for the metadata that names a mail.
"""

import hashlib
import hmac
import json
from base64 import b64encode
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from standardwebhooks import Webhook

from bursary.events import inbox
from tests.api.door import Answer, Door
from tests.world import NOW

KEY = "key-of-mailgun-for-webhooks"
SECRET = "whsec_" + b64encode(b"the secret of Resend's webhook").decode()
ANYMAIL = {"MAILGUN_WEBHOOK_SIGNING_KEY": KEY, "RESEND_SIGNING_SECRET": SECRET}
REPORTED_AT = NOW + timedelta(minutes=2)
_DATA = Path(__file__).parent / "data" / "mail-reports"


def report(name: str, mail: UUID | str) -> dict[str, Any]:
    """Return a body, such as `mailgun-delivered`, about a mail."""
    text = (_DATA / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text.replace("ACTION", str(mail))))


def send(
    name: str,
    mail: UUID | str,
    *,
    delivery: str = "",
    at: datetime = REPORTED_AT,
    key: str = "",
    **changes: Any,
) -> Answer:
    """Send a report as its provider signs it; `delivery` is the provider's id, else one of its content.

    `key` is another key to sign with; `changes` replace parts of the body before it is signed.
    """
    body = report(name, mail) | changes
    delivery = delivery or hashlib.sha256(f"{name}{mail}".encode()).hexdigest()[:50]
    provider = name.partition("-")[0]
    headers = {}
    if provider == "mailgun":
        signed = f"{int(at.timestamp())}{delivery}".encode()
        digest = hmac.new((key or KEY).encode(), signed, hashlib.sha256).hexdigest()
        body["signature"] = {"timestamp": str(int(at.timestamp())), "token": delivery, "signature": digest}
        raw = json.dumps(body)
    else:
        raw = json.dumps(body)
        headers = {
            "HTTP_SVIX_ID": delivery,
            "HTTP_SVIX_TIMESTAMP": str(int(at.timestamp())),
            "HTTP_SVIX_SIGNATURE": Webhook(key or SECRET).sign(delivery, at, raw),
        }
    return Door().send("POST", f"mail-events/{provider}/", raw.encode(), **headers)


def apply(*, now: datetime = REPORTED_AT) -> dict[str, int]:
    """Apply what is in the inbox, as the scheduled task does it."""
    return inbox.apply_due(clock=lambda: now)
