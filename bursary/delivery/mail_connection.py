"""One connection to the mail server for many mails, open during a round of deliveries.

A server may limit the mails or the seconds of a connection, and refuse the next mail. Neither the server nor
the mail is at fault then: the mail is sent once more by a new connection, and the answer there counts.
"""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from bursary.delivery.smtp_answers import CLOSING
from bursary.delivery.smtp_backend import AnswerLost


class _Connection:
    """The connection of one round, opened by its first mail, and again after a failure."""

    def __init__(self) -> None:
        self._backend: BaseEmailBackend | None = None

    def send(self, message: EmailMessage) -> None:
        backend, self._backend = self._backend, None  # kept again once it has taken this mail
        if backend is not None:
            try:
                _send(backend, message)
            except (smtplib.SMTPException, OSError) as error:
                if not _ended_by_server(error):
                    raise
                backend = None
        if backend is None:
            backend = mail.get_connection()
            _send(backend, message)
        self._backend = backend

    def close(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            with suppress(OSError):  # the mails were taken; a farewell changes nothing
                backend.close()


_kept: ContextVar[_Connection | None] = ContextVar("kept", default=None)
"""The connection of this thread's round."""


@contextmanager
def kept_open() -> Iterator[None]:
    """Send all mails inside by one connection, which is closed at the end."""
    connection = _Connection()
    token = _kept.set(connection)
    try:
        yield
    finally:
        _kept.reset(token)
        connection.close()


def send(message: EmailMessage) -> None:
    """Send one mail, by the round's connection if there is one. Raises the mail backend's errors."""
    if connection := _kept.get():
        return connection.send(message)
    with kept_open():
        return send(message)


def _send(backend: BaseEmailBackend, message: EmailMessage) -> None:
    """Send by a connection that stays open; it is closed where that fails."""
    try:
        backend.open()  # or else the backend would close it behind the mail
        backend.send_messages([message])
    except Exception:
        backend.close()
        raise


def _ended_by_server(error: Exception) -> bool:
    """Return whether the server ended the connection before the mail was transmitted."""
    if isinstance(error, AnswerLost):
        return False
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return any(code == CLOSING for code, _said in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        # At MAIL, a server counts its connection's mails; what it says later is about this mail.
        return error.smtp_code == CLOSING or isinstance(error, smtplib.SMTPSenderRefused)
    return isinstance(error, OSError)
