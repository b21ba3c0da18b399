"""The root of the API, `/api/v1/`: its URLs by name, and the caller's permissions."""

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, get_resolver
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access.models import ApiKey, KeyScope, User
from bursary.access.permissions import Permission, may_everywhere, permissions_by_customer
from bursary.api.views import APIView, first_sentence

MAX_CUSTOMERS = 100
_OF_FRAMEWORK = {
    "schema": "Get the OpenAPI schema of this API",
    "docs": "Read the description of this API, with a form to try it",
}
_PARAMETER = re.compile(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>")


class LinkOutput(serializers.Serializer[Any]):
    """A URL of the API."""

    href = serializers.CharField(help_text="The URL, with {} around the names of values to fill in")
    methods = serializers.ListField(child=serializers.CharField())
    does = serializers.CharField(help_text="What a request to the URL does, in a sentence")


class OwnCustomerOutput(serializers.Serializer[Any]):
    """An organisation in which the caller has a role."""

    uuid = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    may = serializers.ListField(child=serializers.ChoiceField([*Permission]))


class OwnKeyOutput(serializers.Serializer[Any]):
    """The API key of the request."""

    name = serializers.CharField()
    scope = serializers.ChoiceField([*KeyScope])
    expires_at = serializers.DateTimeField(allow_null=True)


class CallerOutput(serializers.Serializer[Any]):
    """The caller, with the permissions that their roles and the key's scope leave."""

    username = serializers.CharField()
    is_operator = serializers.BooleanField(
        help_text="Whether the caller has every permission in every organisation"
    )
    key = OwnKeyOutput(allow_null=True)
    customers = OwnCustomerOutput(
        many=True,
        help_text=f"The organisations in which the caller has a role, by name; at most {MAX_CUSTOMERS}",
    )


class ApiRootOutput(serializers.Serializer[Any]):
    """The URLs of the API by name, and the caller: null without sign-in."""

    you = CallerOutput(allow_null=True)
    links = serializers.DictField(child=LinkOutput())


class ApiRoot(APIView):
    """Read the API's URLs, and what you may do. Begin here."""

    permission_classes = (AllowAny,)

    @extend_schema(tags=["root"], responses=ApiRootOutput)
    def get(self, request: Request) -> Response:
        links = {
            name: {**link, "href": request.build_absolute_uri("/").rstrip("/") + link["href"]}
            for name, link in _links()
        }
        you = _caller(request.user, request.auth) if isinstance(request.user, User) else None
        return Response({"you": you, "links": links})


def _caller(user: User, auth: object) -> dict[str, Any]:
    key = (
        {"name": auth.name, "scope": auth.scope, "expires_at": auth.expires_at}
        if isinstance(auth, ApiKey)
        else None
    )
    customers = permissions_by_customer(user, limit=MAX_CUSTOMERS)
    return {
        "username": user.username,
        "is_operator": may_everywhere(user),
        "key": key,
        "customers": [
            {"uuid": str(one.uuid), "slug": one.slug, "name": one.name, "may": may} for one, may in customers
        ],
    }


def _links() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each URL with its methods, and the first sentence of its view's docstring."""
    for root, urls in (("/api/v1/", "bursary.api.urls"), ("/api/v2/", "bursary.api.subsidy_urls")):
        for pattern in get_resolver(urls).url_patterns:
            if isinstance(pattern, URLPattern) and pattern.name:
                view: Any = pattern.callback
                route = _PARAMETER.sub(lambda found: f"{{{found[1] or found[2]}}}", str(pattern.pattern))
                methods = [one.upper() for one in ("get", "post") if hasattr(view.view_class, one)]
                does = _OF_FRAMEWORK.get(pattern.name) or first_sentence(view.view_class)
                yield pattern.name, {"href": root + route.strip("^$"), "methods": methods, "does": does}
