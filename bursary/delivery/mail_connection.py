"""One connection to the mail server for many mails: open while a round of deliveries lasts.

A server may end a connection after so many mails or seconds, and say so at the next mail. That is no trouble
of the server's and no fault of the mail's: it is sent once more, by a connection of its own, and what that
one is answered counts.
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
def kept() -> Iterator[None]:
    """Send the mails inside by one connection, which is closed at the end."""
    connection = _Connection()
    token = _kept.set(connection)
    try:
        yield
    finally:
        _kept.reset(token)
        connection.close()


def send(message: EmailMessage) -> None:
    """Send one mail, by the round's connection, if there is one. Raises what the mail backend raises."""
    if connection := _kept.get():
        return connection.send(message)
    with kept():
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
    """Return whether a mail failed by its place in a connection, not having been handed over."""
    if isinstance(error, AnswerLost):
        return False
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return any(code == CLOSING for code, _said in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        # At MAIL, a server counts its connection's mails; what it says later is about this mail.
        return error.smtp_code == CLOSING or isinstance(error, smtplib.SMTPSenderRefused)
    return isinstance(error, OSError)
