"""Verification of Open edX's tokens: signature and claims. No account is read or written.

The claims, and the reasons for a refusal, are those of edx-drf-extensions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings

from bursary.access import signing_keys
from bursary.access.models import Role, TokenRoles
from bursary.access.signing_keys import SigningKey
from bursary.lib import mailbox, texts

LEEWAY = timedelta(seconds=10)  # for clocks that differ
VERSION = "1"  # the major version of the claims
MAX_NAME = 150  # characters, as in the account's columns
MAX_ID = 2**63 - 1

EXPIRED = "token_expired"

_ROLES: Mapping[str, tuple[Role, ...]] = {
    "enterprise_admin": (Role.ADMINISTRATOR, Role.LEARNER),
    "enterprise_learner": (Role.LEARNER,),
}
_OPERATOR = "enterprise_openedx_operator:*"
_AGAIN = "Sign in to Open edX again."
_CONFIGURED = "Ask the operator to compare BURSARY_JWT_… with the issuer's settings."


class TokenRefused(Exception):
    """The token does not sign in, for a stable `reason`. No account was changed."""

    def __init__(self, reason: str, sentence: str, next_step: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence
        self.next_step = next_step


@dataclass(frozen=True)
class Claims:
    """The claims of a verified token."""

    issuer: str
    username: str
    lms_user_id: int | None
    email: str
    """The canonical address, if the issuer has verified it and a mail could be sent to it; else empty."""
    name: str
    roles: TokenRoles


def verified_claims(token: str, *, now: datetime) -> Claims:
    """Return the claims of a token that is valid at `now`.

    Raises TokenRefused, SigningKeysUnavailable, and RuntimeError in a transaction, if it must fetch keys.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise _malformed() from error
    payload = _verified(token, header, now=now)
    at = now.timestamp()
    if _instant(payload, "exp") <= at - LEEWAY.total_seconds():
        raise TokenRefused("token_expired", "The token has expired.", _AGAIN)
    begins = [_instant(payload, name) for name in ("iat", "nbf") if name in payload]
    if max(begins) > at + LEEWAY.total_seconds():
        raise TokenRefused("token_not_yet_valid", "The token begins in the future.", "Compare the clocks.")
    if str(payload.get("version", "")).split(".")[0] != VERSION:
        raise TokenRefused("token_version_wrong", f"The token's version is not {VERSION}.x.", _CONFIGURED)
    if payload.get("is_restricted"):
        raise TokenRefused("token_restricted", "The token is restricted to some scopes.", _AGAIN)
    return _claims(payload)


def _verified(token: str, header: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return the payload, its signature, audience and issuer checked.

    The keys are fetched again if none has the token's key id, or if it has no key id and no key verifies it.
    """
    kid, algorithm = str(header.get("kid", "")), header.get("alg")
    keys = signing_keys.current(now=now)
    if not any(algorithm in key.algorithms for key in keys):
        detail = "The token is not signed with an algorithm of this installation's keys."
        raise TokenRefused("token_algorithm_refused", detail, _CONFIGURED)
    tried: Sequence[SigningKey] = ()
    for again in (False, True):
        keys = signing_keys.fetched_again(now=now) if again else keys
        fitting = [key for key in keys if not kid or key.kid in ("", kid)]
        tried = tried or fitting
        for key in fitting:
            if algorithm not in key.algorithms:
                continue
            try:
                return _decoded(token, key)
            except jwt.InvalidSignatureError:
                continue
        if kid and fitting:
            break
    if not tried:
        raise TokenRefused("token_key_unknown", "The token is signed with a key that is not known.", _AGAIN)
    raise TokenRefused("token_signature_wrong", "The token's signature is wrong.", _AGAIN)


def _decoded(token: str, key: SigningKey) -> dict[str, Any]:
    """Return the payload; `verified_claims` checks its times. Raises InvalidSignatureError, TokenRefused."""
    options: Any = {"require": ["aud", "iss", "exp", "iat"]}
    options |= dict.fromkeys(("verify_exp", "verify_iat", "verify_nbf", "verify_sub", "verify_jti"), False)
    try:
        payload = jwt.decode(
            token,
            key.material,
            algorithms=list(key.algorithms),
            audience=settings.JWT_AUDIENCE,
            issuer=settings.JWT_ISSUER,
            options=options,
        )
    except jwt.InvalidSignatureError:
        raise
    except jwt.MissingRequiredClaimError as error:
        raise _incomplete(str(error.claim)) from error
    except jwt.InvalidAudienceError as error:
        raise TokenRefused(
            "token_audience_wrong", "The token is for another service.", _CONFIGURED
        ) from error
    except jwt.InvalidIssuerError as error:
        raise TokenRefused("token_issuer_wrong", "The token is from another issuer.", _CONFIGURED) from error
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise _malformed() from error
    return dict(payload)


def _instant(payload: Mapping[str, Any], name: str) -> float:
    """Return a time of the token, in seconds since 1970."""
    value = payload[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _incomplete(name)
    return float(value)


def _claims(payload: Mapping[str, Any]) -> Claims:
    username = payload.get("preferred_username")
    if not isinstance(username, str) or not 0 < len(username) <= MAX_NAME:
        raise _incomplete("preferred_username")
    if not texts.is_storable(username):
        raise _incomplete("preferred_username")
    lms_user_id = payload.get("user_id")
    if lms_user_id is not None and (type(lms_user_id) is not int or not 0 < lms_user_id <= MAX_ID):
        raise _incomplete("user_id")
    email, is_verified = payload.get("email"), payload.get("email_verified") is True
    name = payload.get("name")
    return Claims(
        issuer=settings.JWT_ISSUER,
        username=username,
        lms_user_id=lms_user_id,
        email=mailbox.canonical_or_empty(email) if is_verified and isinstance(email, str) else "",
        name=texts.storable(name, instead=texts.REPLACEMENT)[:MAX_NAME] if isinstance(name, str) else "",
        roles=frozenset(_roles(payload.get("roles"))),
    )


def _roles(listed: object) -> Iterator[tuple[Role, UUID | None]]:
    """Yield the roles that Bursary has, from texts `role:context`. A context is the customer's uuid."""
    for text in listed if isinstance(listed, list) else ():
        role, _colon, context = str(text).partition(":")
        if text == _OPERATOR:
            yield Role.OPERATOR, None
        elif role in _ROLES:
            try:
                customer = UUID(context)
            except ValueError:
                continue  # "*", or no context
            yield from ((one, customer) for one in _ROLES[role])


def _malformed() -> TokenRefused:
    return TokenRefused("token_malformed", "This is not a JSON Web Token.", _AGAIN)


def _incomplete(claim: str) -> TokenRefused:
    detail = f"The token's claim {claim} is missing or not valid."
    return TokenRefused("token_claims_unusable", detail, _CONFIGURED)
