"""Sockets that know when the whole call must be over.

HTTP clients count their time-outs anew with every byte that comes, and for every address of a name: a server
that sends one byte a second holds them for ever. Here each operation gets what is left of the call. The pool
hands a time-out through to its sockets as it is, so an instant can travel in its place.
"""

import socket
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from ssl import SSLContext
from typing import Any

import httpcore2
import httpx2

from bursary.upstream.deadline import Deadline

MAX_CONNECTIONS = 16  # to one service from one process; it has ten threads
IDLE_SECONDS = 15.0  # servers commonly close idle connections after 20 s or more


def instants(deadline: Deadline) -> httpx2.Timeout:
    """Return the deadline in the place of time-outs. Only waiting for a free connection takes a duration."""
    return httpx2.Timeout(deadline.until, pool=deadline.remaining())


class DeadlineTransport(httpx2.BaseTransport):
    """httpx2's transport over a pool whose sockets take instants. Raises httpcore2's exceptions."""

    def __init__(self) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=_Network(),
        )
        # Who forgets to close it leaves no sockets behind.
        weakref.finalize(self, self._pool.close)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request; the body is read later, as far as somebody wants it."""
        answer = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Network(httpcore2.NetworkBackend):
    """Opens connections, by instants."""

    def __init__(self) -> None:
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of the name that answers, in the time that all of them share."""
        failure: Exception = httpcore2.ConnectError("The name has no address.")
        for address in _addresses(host, port, until=timeout):
            try:
                return _Stream(
                    self._plain.connect_tcp(
                        address, port, _left(timeout, httpcore2.ConnectTimeout), local_address, socket_options
                    )
                )
            except httpcore2.ConnectError as refused:
                failure = refused
        raise failure


class _Stream(httpcore2.NetworkStream):
    """A connection that is read from and written to by instants."""

    def __init__(self, plain: httpcore2.NetworkStream) -> None:
        self._plain = plain

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._plain.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._plain.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._plain.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._plain.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)


def _left(until: float | None, exceeded: type[httpcore2.TimeoutException]) -> float | None:
    if until is None:
        return None
    seconds = until - time.monotonic()
    if seconds <= 0:
        raise exceeded("The call's deadline has passed.")
    return seconds


def _addresses(host: str, port: int, *, until: float | None) -> list[str]:
    """Look the name up in a thread of its own: the system's resolver takes no time-out.

    Where it hangs, that thread hangs with it, not ours. The breaker bounds how many of them there are.
    """
    found: list[str] = []
    failed: list[OSError] = []

    def look_up() -> None:
        try:
            known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as unknown:
            failed.append(unknown)
        else:
            found.extend(dict.fromkeys(str(entry[4][0]) for entry in known))

    looking = threading.Thread(target=look_up, name="bursary-name-lookup", daemon=True)
    looking.start()
    looking.join(_left(until, httpcore2.ConnectTimeout))
    if looking.is_alive():
        raise httpcore2.ConnectTimeout("The name was not found in time.")
    if failed:
        raise httpcore2.ConnectError("The name is not known.") from failed[0]
    return found
