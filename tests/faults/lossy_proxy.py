"""A proxy on loopback in front of a database server's socket, which cuts a connection at its COMMIT."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

COMMIT = re.compile(rb"COMMIT\0|\x03COMMIT")  # as PostgreSQL's and as MySQL's clients send it


class LossyProxy:
    """Passes bytes on. Once `cut` is `request` or `answer`, that of the next COMMIT is lost."""

    def __init__(self, server: Path) -> None:
        self.cut: str | None = None
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        for one in (self._listener, *self._open):
            _shut(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._server))
                self._open += [client, server]
                lost = threading.Event()
                threading.Thread(target=self._to_server, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=_to_client, args=(server, client, lost), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.cut and COMMIT.search(data):
                    cut, self.cut = self.cut, None
                    if cut == "request":
                        break
                    lost.set()
                server.sendall(data)
        if not lost.is_set():
            _shut(server)
            _shut(client)


def _to_client(server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while (data := server.recv(65536)) and not lost.is_set():
            client.sendall(data)
    _shut(server)
    _shut(client)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextlib.contextmanager
def lossy_proxy(server: Path) -> Iterator[LossyProxy]:
    """Run a proxy in front of the server's socket."""
    proxy = LossyProxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
