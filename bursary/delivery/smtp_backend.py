"""SMTP with a total deadline: Django's and smtplib's time-outs begin anew with every byte that arrives."""

import contextlib
import smtplib
import socket
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.mail.backends import smtp

_CUT_AGAIN_SECONDS = 0.2

_dialogues: ContextVar[list[smtplib.SMTP] | None] = ContextVar("dialogues", default=None)
"""The SMTP dialogues that this thread's send has begun."""


class AnswerLost(smtplib.SMTPException):
    """The mail was handed over, and no answer came: the server may have accepted it, or not."""


class SmtpEmailBackend(smtp.EmailBackend):
    """Django's, with dialogues that can be cut off while they are still being greeted."""

    @cached_property
    def connection_class(self) -> type[smtplib.SMTP]:
        """Return smtplib's class, with or without TLS, that registers its dialogues."""
        return type("Dialogue", (_RegisteredDialogue, super().connection_class), {})


class _RegisteredDialogue(smtplib.SMTP):
    """A dialogue that is registered for the deadline before a byte is read."""

    def _get_socket(self, *address: Any) -> socket.socket:
        begun = _dialogues.get()
        if begun is not None:
            begun.append(self)
        opened: socket.socket = super()._get_socket(*address)  # type: ignore[misc]  # smtplib's own seam
        return opened

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Hand the message over, and wait for the answer as long as the whole send may take.

        A server may take minutes to answer (RFC 5321 §4.5.3.2.6). A client that hangs up before does not know
        whether the mail was accepted: AnswerLost.
        """
        if self.sock:
            self.sock.settimeout(settings.SEND_DEADLINE.total_seconds())
        try:
            return super().data(msg)
        except (OSError, smtplib.SMTPServerDisconnected) as lost:
            raise AnswerLost(str(lost)) from lost


@contextlib.contextmanager
def cut_off_after(deadline: timedelta) -> Iterator[None]:
    """Shut the sockets that the block has opened when the deadline has passed; reading them then fails.

    Other mail backends register nothing here, and have time-outs of their own.
    """
    begun: list[smtplib.SMTP] = []
    finished = threading.Event()

    def watch() -> None:
        if finished.wait(deadline.total_seconds()):
            return
        # Repeated until the send ends: it may be opening the next socket at this moment.
        while not finished.wait(_CUT_AGAIN_SECONDS):
            for dialogue in begun:
                _shut(dialogue)

    watcher = threading.Thread(target=watch, name="bursary-send-deadline", daemon=True)
    token = _dialogues.set(begun)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
        _dialogues.reset(token)


def _shut(dialogue: smtplib.SMTP) -> None:
    # Read now, not when the dialogue began: STARTTLS replaces the socket.
    opened = getattr(dialogue, "sock", None)
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
