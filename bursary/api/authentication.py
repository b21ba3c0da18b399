"""Signing in with `Authorization: Bearer <API key>`."""

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from bursary.access.models import ApiKey, User


class ApiKeyAuthentication(BaseAuthentication):
    """Signs a request in as the user whose API key it carries. One query."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """Return the key's user; None if there is no bearer key, so that a session may answer."""
        scheme, _, key = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = ApiKey.objects.select_related("user").filter(digest=ApiKey.digest_of(key.strip())).first()
        if found is None or not found.works_at(timezone.now()) or not found.user.is_active:
            raise AuthenticationFailed("This API key is unknown or was revoked.")
        return found.user, found

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge that makes DRF answer 401 to who is not signed in."""
        return 'Bearer realm="Bursary"'


def caller(request: Request) -> User:
    """Return who is signed in. Raises NotAuthenticated where nobody is."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the base registers whoever extends it, by a method without types
    """Says in the API description how a key is sent."""

    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the OpenAPI form of a bearer key."""
        return {"type": "http", "scheme": "bearer"}
