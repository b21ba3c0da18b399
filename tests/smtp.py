"""A real SMTP server on loopback: keeps what it accepts, refuses chosen addresses, and can be away."""

import asyncio
import email
import email.policy
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

PATIENCE = 600.0  # seconds, for a machine that is busy with much else


class _OnAKeptPort(Controller):
    def _create_server(self) -> Coroutine[Any, Any, asyncio.AbstractServer]:
        return self.loop.create_server(
            self._factory_invoker, host=self.hostname, port=self.port, reuse_port=True
        )


class MailServer:
    """The server and what it received. `refuses` are addresses that it answers with 550."""

    def __init__(self) -> None:
        self._kept = socket.socket()  # the port, also while the server is away: it listens to nothing
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port: int = self._kept.getsockname()[1]
        self.received: list[EmailMessage] = []
        self.refuses: set[str] = set()
        self.mailbox_full: set[str] = set()
        self.answers: dict[str, str] = {}  # to RCPT, by address, word for word
        self.thinks_for = 0.0  # seconds, over each message
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
        if self.loses_answers:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return "250 Kept"

    def come(self) -> None:
        """Answer from now on."""
        self._controller = _OnAKeptPort(self, hostname="127.0.0.1", port=self.port, ready_timeout=PATIENCE)
        self._controller.start()

    def go(self) -> None:
        """Refuse connections from now on."""
        if self._controller:
            self._controller.stop()
            self._controller = None

    def close(self) -> None:
        """Refuse connections, and leave the port to others."""
        self.go()
        self._kept.close()


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """Run a mail server for the duration."""
    server = MailServer()
    server.come()
    try:
        yield server
    finally:
        server.close()
