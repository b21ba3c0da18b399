"""A mail server on loopback that answers as it is scripted, at any verb, or breaks the connection there."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pytest_django import Settings

BREAKS = ""
"""In place of an answer: the connection ends."""
RESETS = "RST"
"""In place of an answer: the connection is reset, as by a server that crashes."""
SILENCE = "…"
"""In place of an answer: none, until the client hangs up."""
AT_ONCE_WHEN_CLOSED = struct.pack("ii", 1, 0)  # SO_LINGER: nothing is sent
USUAL = {
    "connection": "220 mx.example ESMTP",
    "EHLO": "250-mx.example\r\n250 AUTH PLAIN",
    "AUTH": "235 2.7.0 Accepted",
    "MAIL": "250 OK",
    "RCPT": "250 OK",
    "DATA": "354 Go on",
    "message": "250 Kept",
    "RSET": "250 OK",
    "QUIT": "221 Bye",
}


class ScriptedServer:
    """The server, and what it received. `answers` gives answers by verb; `message` is the message's end."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.later_answers: dict[str, str] = {}
        """In place of these, once the connection has brought a mail."""
        self.received: list[bytes] = []
        self.connections = 0
        self.seconds_a_byte = 0.0
        """How long each byte of an answer takes; at 0, an answer is sent whole."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Refuse connections from now on."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(5)
            with connection, connection.makefile("rb") as lines, suppress(OSError):  # the client is gone
                self._talk(connection, lines)

    def _talk(self, connection: socket.socket, lines: Iterator[bytes]) -> None:
        verb, later = "connection", False
        while verb != "QUIT":
            answers = USUAL | self.answers | (self.later_answers if later else {})
            answer = answers.get(verb, "502 5.5.1 Unknown")
            if answer in (BREAKS, RESETS, SILENCE):
                _end(connection, answer, lines)
                return
            self._say(connection, answer)
            later = later or verb == "message"
            if verb == "DATA" and answer.startswith("354"):
                verb = self._read_message(lines, answers)
            else:
                verb = next(lines, b"QUIT").split(b" ")[0].strip().decode(errors="replace").upper()
        self._say(connection, USUAL["QUIT"])

    def _say(self, connection: socket.socket, answer: str) -> None:
        said = f"{answer}\r\n".encode()
        if not self.seconds_a_byte:
            connection.sendall(said)
            return
        for byte in said:
            connection.sendall(bytes([byte]))
            time.sleep(self.seconds_a_byte)

    def _read_message(self, lines: Iterator[bytes], answers: dict[str, str]) -> str:
        message = b""
        for line in lines:
            if line == b".\r\n":
                if not answers["message"].startswith(("4", "5")):
                    self.received.append(message)
                return "message"
            message += line
        return "QUIT"


def _end(connection: socket.socket, how: str, lines: Iterator[bytes]) -> None:
    if how == SILENCE:
        next(lines, b"")
    elif how == RESETS:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE_WHEN_CLOSED)


@contextmanager
def scripted_server(settings: Settings) -> Iterator[ScriptedServer]:
    """Run a scripted server for the duration, to which all mails go."""
    server = ScriptedServer()
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
    try:
        yield server
    finally:
        server.close()
