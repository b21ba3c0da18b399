"""Ports of loopback for servers of other processes, which begin to listen a while later."""

import secrets
import socket
from pathlib import Path

_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 10_000


def free_port() -> int:
    """Return a port on which no process listens, and which no process gets without asking for it.

    A connection, and a server on port 0, get any port of the kernel's range: one of that range could be lost
    to another test before the server listens. `secrets`, because pytest-randomly seeds `random` alike in all
    processes of a test run, which would try the same ports at the same time.
    """
    beyond = int(_GIVEN.read_text().split()[0]) if _GIVEN.exists() else 32_768
    while True:
        port = _FIRST + secrets.randbelow(beyond - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
