"""Authentication by API key (`Authorization: Bearer`) or by Open edX token (a header or two cookies)."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import status
from rest_framework.authentication import (
    BaseAuthentication,
    SessionAuthentication,
    get_authorization_header,
)
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from bursary.access import token_accounts, tokens
from bursary.access.models import ApiKey, KeyScope, User
from bursary.access.signing_keys import PAUSE, SigningKeysUnavailable
from bursary.access.tokens import Claims, TokenRefused
from bursary.lib.prepared import Parameter, PreparedSelect

TOKEN_REASONS = (
    *("token_malformed", "token_algorithm_refused", "token_key_unknown", "token_signature_wrong"),
    *("token_expired", "token_not_yet_valid", "token_audience_wrong", "token_issuer_wrong"),
    *("token_version_wrong", "token_restricted", "token_claims_unusable"),
    *("account_not_linked", "account_deactivated", "staff_account"),
)
"""The reasons for which a token is refused with 401."""


@PreparedSelect
def _keys() -> QuerySet[ApiKey]:
    """Return the key with this digest."""
    digest = Parameter("digest", ApiKey._meta.get_field("digest"))
    return ApiKey.objects.select_related("user").filter(digest=digest)


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates a request as the user of its API key. One query, and one write an hour."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """Return the key's user; None without a bearer key, so that the session is tried."""
        scheme, _, key = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found: ApiKey | None = _keys.first(digest=ApiKey.digest_of(key.strip()))
        now = timezone.now()
        if found is None or not found.works_at(now) or not found.user.is_active:
            raise AuthenticationFailed("This API key is unknown, has expired or was revoked.")
        found.note_use(now=now)
        found.user.key_scope = KeyScope(found.scope)
        return found.user, found

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge. With one, DRF answers 401 to unauthenticated requests, not 403."""
        return 'Bearer realm="Bursary"'


class TokenNotAccepted(AuthenticationFailed):
    """A token was sent and refused."""

    def __init__(self, refused: TokenRefused) -> None:
        super().__init__(refused.sentence)
        self.refused = refused


class KeysNotReadable(APIException):
    """The issuer's keys cannot be read, so that no token can be verified."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The issuer's keys were never read, and it does not answer: no token can be verified."
    wait = int(PAUSE.total_seconds())
    """The seconds of `Retry-After`."""


class TokenAuthentication(BaseAuthentication):
    """Authenticates a request by an Open edX token. The user has the token's roles only, for this request.

    The header `Authorization: JWT …` takes precedence over the two cookies that browsers send. With cookies,
    POSTs need the CSRF token. Two queries, and one more with a JWK set by URL.
    """

    def authenticate(self, request: Request) -> tuple[User, Claims] | None:
        """Return the token's user. Without a token, or with an expired cookie, None: the session is tried."""
        if not settings.JWT_ISSUER:
            return None
        scheme, _, in_header = get_authorization_header(request).decode("latin-1").partition(" ")
        token, by_cookie = in_header.strip(), scheme.lower() != "jwt"
        if by_cookie:  # two, of which scripts can read the first
            names = (f"{settings.JWT_COOKIE}-{half}" for half in ("header-payload", "signature"))
            halves = [request.COOKIES.get(name, "") for name in names]
            if not all(halves):
                return None
            token = ".".join(halves)
        now = timezone.now()
        try:
            claims = tokens.verified_claims(token, now=now)
            if by_cookie:
                SessionAuthentication().enforce_csrf(request)
            return token_accounts.account_of(claims, now=now), claims
        except TokenRefused as refused:
            if by_cookie and refused.reason == tokens.EXPIRED:
                request.expired_token = refused  # type: ignore[attr-defined]  # see `refused_token`
                return None
            raise TokenNotAccepted(refused) from refused
        except SigningKeysUnavailable as unavailable:
            raise KeysNotReadable from unavailable


def refused_token(error: Exception, request: Any) -> TokenRefused | None:
    """Return the token's refusal if it is the reason for the 401, else None."""
    if isinstance(error, TokenNotAccepted):
        return error.refused
    expired = getattr(request, "expired_token", None)
    return expired if isinstance(error, NotAuthenticated) else None


def caller(request: Request) -> User:
    """Return the authenticated user. Raises NotAuthenticated."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def identity_of(request: Request) -> str:
    """Return the identity by which requests are counted: API key, else user. Raises NotAuthenticated."""
    return f"key {request.auth.pk}" if isinstance(request.auth, ApiKey) else f"user {caller(request).pk}"


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the base registers its subclasses, in a method without types
    """Describes the bearer key in the OpenAPI schema."""

    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the OpenAPI form of a bearer key."""
        return {"type": "http", "scheme": "bearer"}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # as above
    """Describes the Open edX token in the OpenAPI schema: as a header, and as two cookies."""

    target_class = TokenAuthentication
    name = ["Token", "TokenCookies"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        """Return the OpenAPI form of each."""
        return [
            {"type": "apiKey", "in": "header", "name": "Authorization", "description": "JWT <token>"},
            {"type": "apiKey", "in": "cookie", "name": f"{settings.JWT_COOKIE}-header-payload"},
        ]
