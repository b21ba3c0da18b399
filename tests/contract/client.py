"""Requests as the Open edX web clients send them, and answers as they read them.

Their transport has the LMS's token in two cookies, adds headers, sends a CSRF token with each POST, and reads
JSON with keys in camel case. What they send is in snake case already, or is made so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.test import Client

from bursary.access.models import User
from tests.described import check
from tests.issuer import token

ORIGIN = "http://testserver"
_HEADERS = {
    "Accept": "application/json, text/plain, */*",
    "Origin": ORIGIN,
    "Referer": f"{ORIGIN}/",
    "USE-JWT-COOKIE": "true",
}
_NEXT_WORD = re.compile(r"[_\s-]+(\w)")


def camel_case(value: Any) -> Any:
    """Return JSON with its keys in camel case, however deep; values stay."""
    if isinstance(value, dict):
        return {
            _NEXT_WORD.sub(lambda found: found[1].upper(), key): camel_case(one) for key, one in value.items()
        }
    return [camel_case(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Read:
    """An answer, as a client has it."""

    status: int
    body: Any
    """In camel case; None for an empty body."""


class WebClient:
    """A client in the browser of one user, with that role in the LMS."""

    def __init__(self, user: User, *, role: str) -> None:
        self.user = user
        self.browser = Client(enforce_csrf_checks=True, headers=_HEADERS)
        signed = token(
            preferred_username=user.username, user_id=user.lms_user_id, email=user.email, roles=[role]
        )
        payload, _, signature = signed.rpartition(".")
        self.browser.cookies["edx-jwt-cookie-header-payload"] = payload
        self.browser.cookies["edx-jwt-cookie-signature"] = signature
        self.token = _read(self.browser.get("/csrf/api/v1/token")).body["csrfToken"]

    def get(
        self, path: str, query: Mapping[str, object] | Sequence[tuple[str, object]] | None = None
    ) -> Read:
        """Send a GET; an absolute URL is followed as it is."""
        address = _address(path) + (f"?{urlencode(query)}" if query else "")
        return _read(self.browser.get(address))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Read:
        """Send a POST, without a body if there is none."""
        headers = {"X-CSRFToken": self.token}
        if body is None:
            return _read(self.browser.generic("POST", _address(path), headers=headers))
        sent: Any = body
        return _read(
            self.browser.post(_address(path), sent, content_type="application/json", headers=headers)
        )


def of_policy(uuid: UUID | str) -> str:
    """Return the address of a budget."""
    return f"subsidy-access-policies/{uuid}/"


def _address(path: str) -> str:
    path = path.removeprefix(ORIGIN)
    return path if path.startswith("/") else f"/api/v1/{path}"


def _read(answer: Any) -> Read:
    check(answer)
    if not answer.content:
        return Read(answer.status_code, None)
    assert answer.headers["Content-Type"] == "application/json"
    return Read(answer.status_code, camel_case(answer.json()))
