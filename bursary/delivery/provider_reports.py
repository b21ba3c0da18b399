"""Mail providers' reports, parsed by django-anymail and interpreted like mail servers' answers.

Needs the extra `anymail`. Nothing that names a person is kept: of a mail server's answer, only its codes.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib.util import find_spec
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import Resolver404, resolve

from bursary.assignments.choices import ActionType
from bursary.assignments.mail_reports import MailReport
from bursary.delivery.provider_answers import ACTION_KEY, LONGEST_REF
from bursary.delivery.smtp_answers import Answer, error_of_answer
from bursary.lib import logs

logger = logging.getLogger(__name__)

_FACTS = {
    "delivered": ActionType.DELIVERED,
    "complained": ActionType.COMPLAINED,
    "bounced": ActionType.BOUNCED,
    "rejected": ActionType.BOUNCED,  # by the provider, which knows the address
    "failed": ActionType.BOUNCED,
}
"""By django-anymail's type of event. What was opened or clicked is none of our business."""
_ADDRESS_FAULTS = ("bounced", "invalid")
_CODES = re.compile(r"\b[45]\d\d\b|\b[45]\.\d{1,3}\.\d{1,3}\b")
_STATUS = re.compile(r"\b[45]\d\d\b")
_BARE = 550


class ReportUnreadable(Exception):
    """The report does not have the form that the provider documents."""


def is_installed() -> bool:
    """Return whether the library is installed, without which no report can be read."""
    return find_spec("anymail") is not None


def is_supported(provider: str) -> bool:
    """Return whether the library, which is installed, can read the provider's reports."""
    return _view_class(provider) is not None


def authenticated(provider: str, request: HttpRequest) -> bool:
    """Return whether the request has the password for reports, and what else the library checks of it.

    What keeps the library from checking it, such as a setting that is missing, is logged.
    """
    from anymail.exceptions import AnymailWebhookValidationFailure  # noqa: PLC0415  # of an extra

    try:
        _view_class(provider)().run_validators(request)
    except AnymailWebhookValidationFailure:
        return False
    except Exception as error:  # noqa: BLE001  # whatever it raises: it does not vouch for the request
        logger.warning("A report of %s cannot be checked. %s", provider, logs.one_line(error))
        return False
    return True


def parse(provider: str, request: HttpRequest, *, now: datetime) -> Iterator[tuple[str, MailReport]]:
    """Yield the reports that matter, with an id of each, empty for none. Raises ReportUnreadable."""
    try:
        # Verified before: the view is made only to read, and asks for no password.
        view = _view_class(provider)(webhook_secret=["verified:before"], **_OPTIONS.get(provider, {}))
        events = list(view.parse_events(request))
        reports = [(str(event.event_id or ""), _report(event, now=now)) for event in events]
    except Exception as error:  # the library reads any field that it expects
        raise ReportUnreadable(f"{type(error).__name__}") from error
    yield from ((event_id, report) for event_id, report in reports if report)


def id_from_content(report: MailReport) -> str:
    """Return an id for a report to which the provider gave none: the same for the same content."""
    return hashlib.sha256(json.dumps(payload(report), sort_keys=True).encode()).hexdigest()


def payload(report: MailReport) -> dict[str, object]:
    """Return a report as the inbox keeps it."""
    return {
        "fact": report.fact.value,
        "at": report.at.isoformat(),
        "mail": str(report.mail or ""),
        "provider_ref": report.provider_ref,
        "permanent": report.permanent,
        "code": report.code,
    }


_OPTIONS: dict[str, dict[str, Any]] = {
    "resend": {"signing_secret": None},
    "mailgun": {"webhook_signing_key": "-"},
}


@cache
def _view_class(provider: str) -> Any:
    """Return the library's view for a provider's reports; None where it knows no such provider."""
    try:
        return resolve(f"/{provider}/tracking/", urlconf="anymail.urls").func.view_class  # type: ignore[attr-defined]  # a view's own
    except Resolver404:
        return None


def _report(event: Any, *, now: datetime) -> MailReport | None:
    fact = _FACTS.get(event.event_type)
    if fact is None:
        return None
    answer = f"{event.mta_response or event.description or ''}"
    mail = None
    with suppress(ValueError):  # it has none, or another sender's
        mail = UUID(str((event.metadata or {}).get(ACTION_KEY)))
    return MailReport(
        fact=fact,
        at=event.timestamp or now,
        mail=mail,
        provider_ref="" if mail else f"{event.message_id or ''}"[:LONGEST_REF],
        permanent=fact is ActionType.BOUNCED and _is_permanent(event, answer),
        code=" ".join(dict.fromkeys(_CODES.findall(answer)[:2])) if fact is ActionType.BOUNCED else "",
    )


def _is_permanent(event: Any, answer: str) -> bool:
    """Return whether the address is at fault: what the provider says, and of a server's answer, its words."""
    # Resend's description of a bounce, `type` and `subType`, which the library leaves out.
    data = event.esp_event.get("data") if isinstance(event.esp_event, dict) else None
    bounce = data.get("bounce") if isinstance(data, dict) else None
    if kind := bounce.get("type") if isinstance(bounce, dict) else None:
        return bool(kind == "Permanent")
    if event.reject_reason not in _ADDRESS_FAULTS:
        return False
    if not event.mta_response:
        return True
    status = _STATUS.search(answer)
    code = int(status[0]) if status else _BARE
    return error_of_answer(Answer("RCPT", code, answer)).error_code == "address_rejected"
