"""The mail server of the demonstration's history. It keeps no mails: they are on the timelines.

Like a real server it refuses addresses at unknown domains, asks for a retry now and then, and refuses a few
mails for their content. They are the same mails each time.
"""

import logging
import smtplib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from zlib import crc32

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from bursary import delivery

DOMAINS = frozenset({"larkspur.example", "brightwater.example"})
"""The domains of the two organisations; all others are mistyped."""
ONE_IN_LATE, ONE_IN_REFUSED = 23, 61


class DemoEmailBackend(BaseEmailBackend):
    """Accepts or refuses mails, by recipient and subject."""

    _tried: set[str] = set()

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Accept the mails; return their number. Raises smtplib's errors, as a server's answers would."""
        for message in email_messages:
            (recipient,) = message.to
            if recipient.rpartition("@")[2] not in DOMAINS:
                answer = 550, b"5.1.2 The domain of this address does not exist."
                raise smtplib.SMTPRecipientsRefused({recipient: answer})
            chance = crc32(f"{recipient} {message.subject}".encode())
            if chance % ONE_IN_REFUSED == 0:
                raise smtplib.SMTPDataError(554, b"5.6.0 The message was taken for unwanted mail.")
            name = message.extra_headers["Message-ID"]
            if chance % ONE_IN_LATE == 0 and name not in self._tried:
                self._tried.add(name)
                raise smtplib.SMTPConnectError(421, b"4.3.2 The mail server is being restarted.")
        return len(email_messages)


@contextmanager
def demonstration_mail() -> Iterator[None]:
    """Send this process's mails by the demonstration's mail server."""
    before = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = f"{__name__}.{DemoEmailBackend.__name__}"
    try:
        with expected_failures_unlogged():
            yield
    finally:
        settings.EMAIL_BACKEND = before


@contextmanager
def expected_failures_unlogged() -> Iterator[None]:
    """Silence the logs of delivery about mails that are meant to fail, and about the mail server."""
    logger = logging.getLogger(delivery.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
