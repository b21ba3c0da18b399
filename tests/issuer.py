"""An issuer of tokens, as Open edX's LMS is one: real keys, made for the tests, and its JWK set over HTTP."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from pytest_django import Settings

from tests.api.door import Door
from tests.world import NOW

ISSUER, AUDIENCE = "https://lms.example/oauth2", "openedx"
FIRST, SECOND = "first", "second"


@cache
def private_key(kid: str) -> rsa.RSAPrivateKey:
    """Return the key with this id, made once for all tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk_set(*kids: str) -> str:
    """Return the public keys as the issuer publishes them."""
    keys = [RSAAlgorithm.to_jwk(private_key(kid).public_key(), as_dict=True) | {"kid": kid} for kid in kids]
    return json.dumps({"keys": keys})


def at(seconds: float) -> int:
    """Return the time so many seconds from NOW, as tokens write it."""
    return int(NOW.timestamp() + seconds)


def claims(**changes: object) -> dict[str, object]:
    """Return the claims of Ada, as edx-platform writes them; None leaves one out."""
    written: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": at(-60),
        "exp": at(3600),
        "version": "1.2.0",
        "preferred_username": "ada",
        "user_id": 7,
        "email": "ada@larkspur.example",
        "email_verified": True,
        "name": "Ada Larkspur",
        "administrator": False,
        "is_restricted": False,
        "scopes": ["user_id", "email", "profile"],
        "filters": ["user:me"],
        "roles": [],
    } | changes
    return {name: value for name, value in written.items() if value is not None}


def token(*, kid: str = FIRST, named: bool = True, **changes: object) -> str:
    """Return a token signed with that key, which its header names unless it is not `named`."""
    headers = {"kid": kid} if named else {}
    return jwt.encode(claims(**changes), private_key(kid), algorithm="RS512", headers=headers)


def by_hand(header: dict[str, Any], payload: dict[str, Any], *, secret: bytes | None) -> str:
    """Return a token that no library would make: unsigned, or with HMAC by any secret."""
    parts = [_encoded(json.dumps(part).encode()) for part in (header, payload)]
    signature = b"" if secret is None else hmac.digest(secret, ".".join(parts).encode(), hashlib.sha256)
    return ".".join([*parts, _encoded(signature)])


def public_pem(kid: str = FIRST) -> bytes:
    """Return the public key as text, which an attacker has."""
    return private_key(kid).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def trust(settings: Settings, *kids: str) -> None:
    """Let the installation accept the issuer's tokens, by a JWK set in its settings."""
    settings.JWT_ISSUER, settings.JWT_AUDIENCE = ISSUER, AUDIENCE
    settings.JWT_JWK_SET = jwk_set(*kids or (FIRST,))


def door_by(token: str) -> Door:
    """Return the API's door for a service that sends this token."""
    door = Door()
    door.client.credentials(HTTP_AUTHORIZATION=f"JWT {token}")
    return door


def browser_by(token: str, *, origin: str = "") -> Door:
    """Return the door for a browser that has this token in its cookies; it is asked for its CSRF token."""
    door = Door(csrf=True)
    payload, _dot, signature = token.rpartition(".")
    door.client.cookies["edx-jwt-cookie-header-payload"] = payload
    door.client.cookies["edx-jwt-cookie-signature"] = signature
    if origin:
        door.client.credentials(HTTP_ORIGIN=origin)
    return door


class JwkServer:
    """Serves a JWK set on loopback. Without keys it answers 503; `body` may be anything else instead."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kids: tuple[str, ...] = (FIRST,)
        self.body: str | None = None
        self.asked = 0

    def answer(self) -> tuple[int, bytes]:
        self.asked += 1
        if self.body is None and not self.kids:
            return 503, b""
        return 200, (jwk_set(*self.kids) if self.body is None else self.body).encode()


@contextmanager
def jwk_server() -> Iterator[JwkServer]:
    """Start the server, and stop it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = running.answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = JwkServer(f"http://127.0.0.1:{server.server_port}/jwks.json")
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield running
        finally:
            server.shutdown()
            thread.join()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
