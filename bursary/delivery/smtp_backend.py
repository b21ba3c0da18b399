"""SMTP with a total deadline: the time-outs of Django and smtplib restart with every byte that arrives."""

import contextlib
import smtplib
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

from django.conf import settings
from django.core.mail.backends import smtp

_CHECK_SECONDS = 0.2  # between two checks for sends past their deadline
_IDLE_CHECKS = 25


class Dialogue(Protocol):
    """A dialogue with a server; `sock` is its socket while it has one."""

    def close(self) -> None:
        """End it."""


_dialogues: ContextVar[list[Dialogue] | None] = ContextVar("dialogues", default=None)
"""The SMTP dialogues that this thread's send uses."""


class AnswerLost(smtplib.SMTPException):
    """The whole message was handed over, and no answer came: the server may have accepted it, or not."""


class DataRefused(smtplib.SMTPDataError):
    """The server refuses at the verb DATA: nothing of the message was sent."""


class DialogueLost(smtplib.SMTPServerDisconnected):
    """The connection broke during one mail's dialogue, before the message's end: it did not arrive."""


class SmtpEmailBackend(smtp.EmailBackend):
    """Django's, with dialogues that can be cut off while they are still being greeted."""

    @cached_property
    def connection_class(self) -> type[smtplib.SMTP]:
        """Return smtplib's class, with or without TLS, that registers its dialogues."""
        return type("Dialogue", (_RegisteredDialogue, super().connection_class), {})


class _RegisteredDialogue(smtplib.SMTP):
    """A dialogue that is registered for the deadline before a byte is read."""

    _handed_over = 0  # commands and messages, whole
    _began_mail = False

    def _get_socket(self, *address: Any) -> socket.socket:
        watch(self)
        opened: socket.socket = super()._get_socket(*address)  # type: ignore[misc]  # smtplib's own seam
        return opened

    def send(self, s: Any) -> None:
        """Send, and count what was handed over whole."""
        super().send(s)
        self._handed_over += 1

    def mail(self, *sender: Any, **options: Any) -> tuple[int, bytes]:
        """Begin a mail, each of its answers within the usual time again."""
        self._began_mail = True
        if self.sock:
            self.sock.settimeout(self.timeout)
        return super().mail(*sender, **options)

    def sendmail(self, *mail: Any, **options: Any) -> dict[str, tuple[int, bytes]]:
        """Send one mail. A connection that breaks before the message's end is DialogueLost."""
        watch(self)  # it may have been opened for an earlier one
        try:
            return super().sendmail(*mail, **options)
        except smtplib.SMTPServerDisconnected as lost:
            if not self._began_mail:
                raise
            raise DialogueLost(str(lost)) from lost

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Hand the message over, and wait for the answer as long as the whole send may take.

        A server may take minutes to answer (RFC 5321 §4.5.3.2.6). A client that hangs up before, or cannot
        read the answer, does not know whether the mail was accepted: AnswerLost. smtplib's errors are
        OSErrors, so that what counts is how far it got: the verb is handed over first, then the message with
        its end.
        """
        if self.sock:
            self.sock.settimeout(settings.SEND_DEADLINE.total_seconds())
        both = self._handed_over + 2
        try:
            code, answer = super().data(msg)
        except OSError as error:
            if self._handed_over >= both:
                raise AnswerLost(str(error)) from error
            if isinstance(error, smtplib.SMTPDataError):
                raise DataRefused(error.smtp_code, error.smtp_error) from error
            if isinstance(error, smtplib.SMTPException):
                raise
            raise smtplib.SMTPServerDisconnected(str(error)) from error
        if code // 100 not in (2, 4, 5):
            raise AnswerLost(f"The mail server answered {code}, which means nothing here.")
        return (250 if code // 100 == 2 else code), answer  # any of them accepts, RFC 5321 §4.2.1

    def quit(self) -> tuple[int, bytes]:
        """Take leave. What goes wrong with that changes nothing for a mail that was accepted."""
        try:
            return super().quit()
        except OSError:
            self.close()
            return 221, b""


@contextlib.contextmanager
def cut_off_after(deadline: timedelta) -> Iterator[None]:
    """Shut the sockets that the block uses when the deadline has passed; reading them then fails.

    Other mail backends register nothing here, and have time-outs of their own.
    """
    with _WATCHER.watching(until=time.monotonic() + deadline.total_seconds()) as dialogues:
        token = _dialogues.set(dialogues)
        try:
            yield
        finally:
            _dialogues.reset(token)


class _Watcher:
    """Cuts off what lasts too long: one thread for all sends of a process, which ends when there are none."""

    def __init__(self) -> None:
        self._sends: dict[int, tuple[float, list[Dialogue]]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pause = threading.Event()  # never set

    @contextlib.contextmanager
    def watching(self, *, until: float) -> Iterator[list[Dialogue]]:
        dialogues: list[Dialogue] = []
        with self._lock:
            self._sends[id(dialogues)] = (until, dialogues)
            if self._thread is None or not self._thread.is_alive():  # a process that was forked has none
                self._thread = threading.Thread(target=self._watch, name="bursary-send-deadline", daemon=True)
                self._thread.start()
        try:
            yield dialogues
        finally:
            with self._lock:
                del self._sends[id(dialogues)]

    def _watch(self) -> None:
        idle = 0
        while idle < _IDLE_CHECKS:
            self._pause.wait(_CHECK_SECONDS)
            with self._lock:
                idle = 0 if self._sends else idle + 1
                if idle == _IDLE_CHECKS:
                    self._thread = None
                # Again each time: the send may be opening the next socket at this moment.
                for until, dialogues in self._sends.values():
                    for dialogue in dialogues if time.monotonic() >= until else ():
                        _shut(dialogue)


_WATCHER = _Watcher()


def watch(dialogue: Dialogue) -> None:
    """Have a dialogue cut off with the send that uses it. Called before its socket is opened."""
    dialogues = _dialogues.get()
    if dialogues is not None and dialogue not in dialogues:
        dialogues.append(dialogue)


def _shut(dialogue: Dialogue) -> None:
    # Read now, not when the dialogue began: STARTTLS replaces the socket.
    opened = getattr(dialogue, "sock", None)
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
