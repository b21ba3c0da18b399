"""The ways in which a remote service can fail to answer. Each takes the connection and does its worst."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler
from socket import SO_LINGER, SOL_SOCKET
from threading import Event

MEGABYTE = 1024 * 1024
HTML = b"<!doctype html><html><h1>Server Error (500)</h1></html>"

Fault = Callable[[BaseHTTPRequestHandler, Event], bool]
"""Given the request's handler, and the event that the server stops; returns whether it has answered."""


def status(code: int, *, retry_after: int | None = None, body: bytes = HTML) -> Fault:
    """Answer with this status, and a page for people."""

    def answer(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
        handler.send_response(code)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            handler.send_header("Retry-After", str(retry_after))
        if 300 <= code < 400:
            handler.send_header("Location", "/elsewhere/")
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def text(body: bytes) -> Fault:
    """Answer with success, and with this in the place of JSON."""

    def answer(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def hang(_handler: BaseHTTPRequestHandler, stopping: Event) -> bool:
    """Take the request and say nothing."""
    stopping.wait(60)
    return True


def drip(handler: BaseHTTPRequestHandler, stopping: Event) -> bool:
    """Send a body of which a byte comes every 50 ms."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    return _drip(handler, stopping, b"[")


def drip_headers(handler: BaseHTTPRequestHandler, stopping: Event) -> bool:
    """Begin to answer, with headers that never end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    return _drip(handler, stopping, b"x")


def drip_chunks(handler: BaseHTTPRequestHandler, stopping: Event) -> bool:
    """Send the size of a chunk, a digit every 50 ms."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
    return _drip(handler, stopping, b"x")


def reset(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
    """Hang up without a word, as a killed process does."""
    handler.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()
    return True


def break_off(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
    """Hang up in the middle of the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"results": [')
    handler.close_connection = True
    return True


def garbage(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
    """Speak something else than HTTP."""
    handler.wfile.write(b"\x00\x01\x02 I am a teapot\r\n\r\n")
    handler.close_connection = True
    return True


def huge(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
    """Send 50 MB."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(50 * MEGABYTE))
    handler.end_headers()
    for _ in range(50):
        handler.wfile.write(b" " * MEGABYTE)
    return True


def bomb(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
    """Send 100 KB that are 100 MB."""
    packed = _bomb()
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", str(len(packed)))
    handler.end_headers()
    handler.wfile.write(packed)
    return True


def bad_gzip(handler: BaseHTTPRequestHandler, _stopping: Event) -> bool:
    """Claim a compression that is none."""
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", "9")
    handler.end_headers()
    handler.wfile.write(b"plain....")
    return True


def slow(seconds: float) -> Fault:
    """Think for a while, and then answer as if nothing were wrong."""

    def wait(_handler: BaseHTTPRequestHandler, stopping: Event) -> bool:
        stopping.wait(seconds)
        return False

    return wait


@cache
def _bomb() -> bytes:
    """Packed once: after a full flush a block depends on nothing before it, and can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    first, block = (packer.compress(b" " * MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + block * 99 + packer.flush()


def _drip(handler: BaseHTTPRequestHandler, stopping: Event, byte: bytes) -> bool:
    while not stopping.wait(0.05):
        handler.wfile.write(byte)
        handler.wfile.flush()
    return True
