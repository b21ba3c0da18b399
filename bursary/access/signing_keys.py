"""The keys that verify tokens: from a JWK set, inline or at a URL, or a secret for development.

A set at a URL is fetched when it is an hour old, or when a token names an unknown key; at most once a minute,
by one process. The last good set is stored in the database, and used for as long as the URL does not answer.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import jwt
from django.conf import settings
from django.db.models import QuerySet

from bursary.access.models import JwkSet
from bursary.lib import leases
from bursary.lib.inserts import insert_missing
from bursary.lib.retries import in_transaction
from bursary.upstream.client import Client
from bursary.upstream.errors import UnreadableAnswer, UpstreamError

FRESH_FOR = timedelta(hours=1)
"""A key that the issuer has removed is accepted for this long at most, unless the URL does not answer."""
PAUSE = timedelta(minutes=1)
DEADLINE = timedelta(seconds=3)  # a request waits for it
LEASE = timedelta(seconds=30)
MAX_BYTES = 64 * 1024
MAX_KEYS = 20  # a token that names no key is tried with each

# The key's type decides the algorithm, not the token: else a token could be signed with the public key as an
# HMAC secret.
_ALGORITHMS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_OF_SECRET = ("HS256",)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SigningKey:
    """A key and the algorithms it is for. A key without an id is tried with every token."""

    kid: str
    algorithms: tuple[str, ...]
    material: Any


class SigningKeysUnavailable(Exception):
    """No set was ever fetched, and the URL does not answer, so no token can be verified."""

    reason = "signing_keys_unavailable"


def current(*, now: datetime) -> Sequence[SigningKey]:
    """Return the keys. Raises SigningKeysUnavailable, and RuntimeError in a transaction if it must fetch."""
    if settings.JWT_SECRET:
        return (SigningKey("", _OF_SECRET, settings.JWT_SECRET),)
    if settings.JWT_JWK_SET:
        return parse(settings.JWT_JWK_SET)
    row = _row().first()
    if row is None or row.fetched_at is None or not now - FRESH_FOR < row.fetched_at <= now:
        row = _refreshed(now)
    return _usable(row)


def fetched_again(*, now: datetime) -> Sequence[SigningKey]:
    """Return the keys, fetched again unless that was done in the last minute; none if they have no URL.

    Raises as `current` does.
    """
    if settings.JWT_SECRET or settings.JWT_JWK_SET:
        return ()
    return _usable(_refreshed(now))


@lru_cache(maxsize=8)
def parse(text: str) -> tuple[SigningKey, ...]:
    """Return a JWK set's public keys for signatures, without its other keys. Empty if it is not a JWK set."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    listed = value.get("keys") if isinstance(value, dict) else None
    found = [_parsed(one) for one in listed[:MAX_KEYS]] if isinstance(listed, list) else []
    return tuple(one for one in found if one)


def _parsed(jwk: object) -> SigningKey | None:
    """Return the key if it is usable. A private key in a published set is not: its readers could sign."""
    if not isinstance(jwk, dict) or "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    algorithms = _ALGORITHMS.get((str(jwk.get("kty")), str(jwk.get("crv", ""))), ())
    algorithms = tuple(one for one in algorithms if jwk.get("alg", one) == one)
    kid = jwk.get("kid", "")
    if not algorithms or not isinstance(kid, str):
        return None
    try:
        return SigningKey(kid, algorithms, jwt.PyJWK(jwk, algorithm=algorithms[0]).key)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


def _row() -> QuerySet[JwkSet]:
    return JwkSet.objects.filter(url=settings.JWT_JWK_SET_URL)


def _usable(row: JwkSet | None) -> Sequence[SigningKey]:
    if row is None or not (keys := parse(row.keys)):
        raise SigningKeysUnavailable
    return keys


def _refreshed(now: datetime) -> JwkSet | None:
    """Return the set after a fetch, or the stored one if it is leased or was fetched in the last minute."""
    if not _row().exists():
        row = JwkSet(url=settings.JWT_JWK_SET_URL, due_at=now, early=leases.NOT_BEFORE)
        in_transaction(lambda: insert_missing([row], unique=["url"]))
    for claimed in leases.claim(_row(), now=now, lease=LEASE, limit=1):
        keys, fetched_at = claimed.keys, claimed.fetched_at
        try:
            keys, fetched_at = _fetch(claimed.url), now
        except UpstreamError as failure:
            logger.warning("The JWK set was not fetched: %s; the last good one is kept", failure.reason)
        leases.settle([claimed], due_at=now + PAUSE, now=now, keys=keys, fetched_at=fetched_at)
    return _row().first()


def _fetch(url: str) -> str:
    """Return the set at the URL as JSON. Raises UpstreamError, also for a set without a usable key."""
    address = urlsplit(url)
    text = json.dumps(_client(f"{address.scheme}://{address.netloc}").get(address.path))
    if not parse(text):
        raise UnreadableAnswer("no_keys", "The answer has no usable key.")
    return text


@lru_cache(maxsize=2)
def _client(base_url: str) -> Client:
    return Client(
        base_url, deadline=min(DEADLINE, settings.UPSTREAM_DEADLINE), attempts=1, max_bytes=MAX_BYTES
    )
