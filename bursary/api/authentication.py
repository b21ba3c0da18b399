"""Authentication by `Authorization: Bearer <API key>`."""

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from bursary.access.models import ApiKey, User


class ApiKeyAuthentication(BaseAuthentication):
    """Authenticates a request as the user that its API key belongs to. One query, and one write an hour."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """Return the key's user, or None without a bearer key, so that the session is tried."""
        scheme, _, key = get_authorization_header(request).decode("latin-1").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = ApiKey.objects.select_related("user").filter(digest=ApiKey.digest_of(key.strip())).first()
        now = timezone.now()
        if found is None or not found.works_at(now) or not found.user.is_active:
            raise AuthenticationFailed("This API key is unknown or was revoked.")
        found.note_use(now=now)
        return found.user, found

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge. With one, DRF answers 401 to unauthenticated requests, not 403."""
        return 'Bearer realm="Bursary"'


def caller(request: Request) -> User:
    """Return the authenticated user. Raises NotAuthenticated."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the base registers its subclasses, in a method without types
    """Describes the bearer key in the OpenAPI schema."""

    target_class = ApiKeyAuthentication
    name = "ApiKey"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        """Return the OpenAPI form of a bearer key."""
        return {"type": "http", "scheme": "bearer"}
