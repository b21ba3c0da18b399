"""Every response that a test receives from the API is one that the OpenAPI schema describes."""

import json
import re
from functools import cache
from typing import Any
from urllib.parse import quote

import jsonschema_rs
from django.contrib.admindocs.views import simplify_regex
from django.urls import Resolver404
from rest_framework.test import APIClient

from bursary.api import docs

Shape = dict[str, Any]
_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


_CONTENT = "/api/v1/content-metadata/"
_NAME = "urn:bursary:api"


class DescribedClient(APIClient):
    """A client that compares each response with the schema."""

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        check(response)
        return response


@cache
def schema() -> Shape:
    """Return the API's schema, in which an object has no fields but those that it names."""
    whole: Shape = _closed(json.loads(json.dumps(docs.schema())))
    return whole


def _closed(described: Any) -> Any:
    if isinstance(described, list):
        return [_closed(one) for one in described]
    if not isinstance(described, dict):
        return described
    closed = {name: _closed(one) for name, one in described.items()}
    if isinstance(closed.get("properties"), dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


@cache
def validator(*place: str) -> Any:
    """Return the validator of the shape that stands at a place in the schema."""
    pointer = "/".join(quote(name.replace("~", "~0").replace("/", "~1")) for name in place)
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"{_NAME}#/{pointer}"}, registry=_registry(), validate_formats=True
    )


@cache
def _registry() -> jsonschema_rs.Registry:
    """Return the whole schema, read once: it takes longer than to compile one of its shapes."""
    return jsonschema_rs.Registry([(_NAME, schema())])


def check(response: Any) -> None:
    """Raise AssertionError if the schema does not describe the response."""
    try:
        route = response.resolver_match.route
    except Resolver404:
        return  # no address
    path = _PARAMETER.sub(r"{\1}", simplify_regex(route) if "(?P" in route else f"/{route}")
    method = response.request["REQUEST_METHOD"].lower()
    described = schema()["paths"].get(path, {}).get(method)
    if described is None:
        return
    where, status = f"{method.upper()} {path}: {response.status_code}", str(response.status_code)
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind == "text/html" and "html" in response.request.get("HTTP_ACCEPT", ""):
        return  # for people
    assert status in described["responses"], f"{where} is not described"
    answer = described["responses"][status]
    assert kind in answer["content"], f"{where}, {kind} is not described"
    for name in ("Retry-After", "WWW-Authenticate", "Idempotent-Replayed"):
        assert name not in response.headers or name in answer.get("headers", ()), (
            f"{where}, {name} is not described"
        )
    if kind == "application/json":
        if path.startswith(_CONTENT) and "payload" in response.json():
            path = f"{_CONTENT}{{content_key}}/"  # a key may end like the addresses below it
        place = ("paths", path, method, "responses", status, "content", kind, "schema")
        problem = next(validator(*place).iter_errors(response.json()), None)
        assert problem is None, f"{where}: {problem}"
