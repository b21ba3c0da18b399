"""Mail providers over HTTP, by django-anymail: with a total deadline, and errors in this service's words.

Needs the extra `anymail`; loaded where BURSARY_EMAIL_URL names a provider, and by nothing else.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import requests
from anymail.exceptions import AnymailAPIError, AnymailError, AnymailRecipientsRefused
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils.module_loading import import_string
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from bursary.delivery import provider_answers
from bursary.delivery.errors import DeliveryError, unreachable
from bursary.delivery.smtp_backend import watch
from bursary.lib.numbers import from_digits

_TAKES_KEYS = ("Resend",)
"""Providers that send one mail for all requests with one `Idempotency-Key`, kept for a day."""
_SENT_BEFORE = "invalid_idempotent_request"
"""Resend's word for a key that is known with another body: links are made anew for each attempt."""


def configured(**options: Any) -> Any:
    """Return the backend of the provider that the settings name. Raises ImproperlyConfigured, ImportError."""
    provider = import_string(f"anymail.backends.{settings.MAIL_PROVIDER}.EmailBackend")
    return type("ProviderEmailBackend", (_Translated, provider), {})(**options)


class _Translated:
    """Wraps a backend of django-anymail: errors become DeliveryError, connections are under the deadline.

    `configured` makes a class of this one and the backend's, in this order: `super()` is the backend.
    """

    esp_name: str
    _adapter: "_WatchedAdapter | None" = None

    def create_session(self) -> requests.Session:
        """Return a session with connections that are cut off with the send."""
        session: requests.Session = super().create_session()  # type: ignore[misc]  # the backend has it
        self._adapter = _WatchedAdapter()
        session.mount("https://", self._adapter)
        session.mount("http://", self._adapter)
        return session

    def post_to_esp(self, payload: Any, message: Any) -> Any:
        """Post a mail, with its key where the provider takes one."""
        if self.esp_name in _TAKES_KEYS and (
            key := getattr(message, "metadata", {}).get(provider_answers.ACTION_KEY)
        ):
            payload.headers["Idempotency-Key"] = key
        return super().post_to_esp(payload, message)  # type: ignore[misc]  # the backend has it

    def send_messages(self, messages: Sequence[EmailMessage]) -> int:
        """Send mails; return how many. Raises DeliveryError."""
        try:
            sent: int = super().send_messages(messages)  # type: ignore[misc]  # the backend has it
        except AnymailRecipientsRefused as refused:
            status = getattr(refused.email_message, "anymail_status", None)
            statuses = ", ".join(sorted(map(str, getattr(status, "status", None) or ["refused"])))
            raise provider_answers.recipient_refused(statuses) from refused
        except (AnymailAPIError, OSError) as error:  # requests' errors are OSErrors
            if (response := getattr(error, "response", None)) is None:
                raise self._of_connection(error) from error
            if response.status_code == requests.codes.conflict and _SENT_BEFORE in response.text:
                return len(messages)  # by an earlier attempt, of which no answer came
            raise self._of_answer(response) from error
        except AnymailError as error:  # the mail cannot be expressed for this provider
            raise DeliveryError("message_invalid", str(error), permanent=True) from error
        return sent

    def _of_answer(self, response: requests.Response) -> DeliveryError:
        asked = from_digits(response.headers.get("Retry-After", ""), max_digits=20)
        wait = None if asked is None else timedelta(seconds=min(asked, 10**6))
        idempotent = self.esp_name in _TAKES_KEYS
        return provider_answers.error_of_response(
            response.status_code, response.text, wait=wait, idempotent=idempotent
        )

    def _of_connection(self, error: Exception) -> DeliveryError:
        cause = error.__cause__ or error
        sentence = f"{self.esp_name}: {type(cause).__name__}: {cause}"
        if self._adapter and self._adapter.handed_over:
            return provider_answers.in_doubt(
                f"The mail provider did not answer: it may have arrived. {sentence}"
            )
        return unreachable(sentence)


class _WatchedAdapter(HTTPAdapter):
    """Has its connections cut off with the send, and knows whether a request was handed over whole."""

    handed_over = False

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*sizes, **options)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools of connections over a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        self._watch(manager)
        return manager

    def send(self, *request: Any, **options: Any) -> requests.Response:
        """Send a request."""
        self.handed_over = False
        return super().send(*request, **options)

    def _watch(self, manager: Any) -> None:
        def watched(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
            connection = type("Watched", (_WatchedConnection, pool.ConnectionCls), {"adapter": self})
            return type("WatchedPool", (pool,), {"ConnectionCls": connection})

        manager.pool_classes_by_scheme = {
            "http": watched(HTTPConnectionPool),
            "https": watched(HTTPSConnectionPool),
        }


class _WatchedConnection:
    """Wraps a connection of urllib3, to register its socket for the deadline.

    `_WatchedAdapter` makes a class of this one and the connection's, in this order: `super()` is the
    connection.
    """

    adapter: _WatchedAdapter

    def connect(self) -> None:
        """Connect."""
        watch(self)  # type: ignore[arg-type]  # it is a connection
        super().connect()  # type: ignore[misc]  # the connection has it

    def request(self, *line: Any, **body: Any) -> None:
        """Hand a request over, headers and body."""
        watch(self)  # type: ignore[arg-type]  # again: a kept connection serves another send
        super().request(*line, **body)  # type: ignore[misc]  # the connection has it
        self.adapter.handed_over = True
