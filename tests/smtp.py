"""A real SMTP server on loopback: keeps what it accepts, refuses chosen addresses, and can be away."""

import asyncio
import email
import email.policy
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.elapsed import PATIENCE
from tests.ports import reserved


class MailServer:
    """The server and what it received. `refuses` are addresses that it answers with 550."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: list[EmailMessage] = []
        self.refuses: set[str] = set()
        self.mailbox_full: set[str] = set()
        self.answers: dict[str, str] = {}  # to RCPT, by address, word for word
        self.thinks_for = 0.0  # seconds, over each message
        self.holds_answers = False  # to messages that it keeps, until this is False again
        self.loses_answers = False  # to messages that it keeps
        self._controller: Controller | None = None

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Accept or refuse a recipient."""
        if address in self.answers:
            return self.answers[address]
        if address in self.refuses:
            return "550 5.1.1 No such user here"
        if address in self.mailbox_full:
            return "452 4.2.2 Mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name for it
        """Keep the message."""
        raw = envelope.original_content or b""
        message = email.message_from_bytes(raw, policy=email.policy.default)
        self.received.append(message)
        await asyncio.sleep(self.thinks_for)
        while self.holds_answers:
            await asyncio.sleep(0.01)
        if self.loses_answers:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "250 Kept"

    def come(self) -> None:
        """Answer from now on."""
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=PATIENCE)
        self._controller.start()

    def go(self) -> None:
        """Refuse connections from now on."""
        if self._controller:
            self._controller.stop()
            self._controller = None


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server for the duration."""
    with reserved() as port:
        server = MailServer(port)
        server.come()
        try:
            yield server
        finally:
            server.go()
