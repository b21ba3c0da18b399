"""Ports on loopback that no other process takes between their choice and their use."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


def reserve() -> socket.socket:
    """Return a socket on a free port, without listening.

    Until it is closed, the system gives the port to no other socket that does not ask for it by number; a
    server that reuses addresses, as ours do, can listen on it, and connections are refused before and after.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept


@contextmanager
def reserved() -> Iterator[int]:
    """Reserve a port for the duration."""
    with reserve() as kept:
        yield kept.getsockname()[1]
