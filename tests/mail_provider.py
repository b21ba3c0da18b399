"""A mail provider's API on loopback: it keeps what it is sent, and gives one answer."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Posted:
    """A request: its path, headers, and body as text."""

    path: str
    headers: Message
    body: str


@dataclass
class MailProvider:
    """The API. `answer` is a status, headers and a body; `hangs` gives none after reading the request."""

    url: str = ""
    answer: tuple[int, dict[str, str], object] = (200, {}, {})
    posted: list[Posted] = field(default_factory=list)
    hangs: threading.Event | None = None


@contextmanager
def mail_provider() -> Iterator[MailProvider]:
    """Run a provider's API for the duration."""
    provider = MailProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            provider.posted.append(Posted(self.path, self.headers, body))
            if provider.hangs:
                provider.hangs.wait(10)
                return
            status, headers, content = provider.answer
            written = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(written))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(written)

        def log_message(self, *_line: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        if provider.hangs:
            provider.hangs.set()
        server.shutdown()
        thread.join()
        server.server_close()
