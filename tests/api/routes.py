"""Every route of the API asked by every kind of caller, and the answers as the table in docs/routes.md.

The routes come from the URL conf and what they take from the description, so that a new one is asked as well.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from bursary.api import docs

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PARAMETER = re.compile(r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>")
_HERE = ("api/", "csrf/", "healthz", "metrics")
"""What is asked: pages for people have other ways to sign in, and tests of their own."""


class Route(NamedTuple):
    """A method of an address, with {} around its parameters."""

    method: str
    address: str


@dataclass(frozen=True)
class Asked:
    """A route, and what is sent to it."""

    route: Route
    path: str
    query: Mapping[str, str]
    body: Mapping[str, object]


def addresses() -> Iterator[tuple[str, Any]]:
    """Yield each named address of the URL conf, with its view."""
    for address, pattern in _patterns(get_resolver(), ""):
        if pattern.name and address.startswith(_HERE):
            yield f"/{address}", getattr(pattern.callback, "view_class", None)


def _patterns(resolver: URLResolver, before: str) -> Iterator[tuple[str, URLPattern]]:
    for one in resolver.url_patterns:
        written = _PARAMETER.sub(lambda found: f"{{{found[1] or found[2]}}}", str(one.pattern)).strip("^$")
        if isinstance(one, URLPattern):
            yield before + written, one
        else:
            yield from _patterns(one, before + written)


def asked(values: Mapping[str, object]) -> Iterator[Asked]:
    """Yield what each route is asked: of what it takes, that which `values` names."""
    described = docs.schema()
    for address, view in addresses():
        path = re.sub(r"\{(\w+)\}", lambda found: str(values[found[1]]), address)
        for method in METHODS:
            if view is not None and not hasattr(view, method.lower()):
                continue
            if view is None and method != "GET":  # a function, which answers every method alike
                continue
            operation = described["paths"].get(address, {}).get(method.lower(), {})
            names = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
            query = {name: str(values[name]) for name in names & values.keys()}
            fields = _fields(operation, described) & values.keys()
            yield Asked(Route(method, address), path, query, {name: values[name] for name in fields})


def _fields(operation: Any, described: Any) -> set[str]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return set(described["components"]["schemas"].get(name, schema).get("properties", {}))


def answer(client: APIClient, one: Asked, *, body: str = "") -> str:
    """Return how a request is answered: `yes`, `none` for an empty list, or the status of a refusal.

    A POST has `body` in place of what is to be sent.
    """
    path = f"{one.path}?{urlencode(one.query)}" if one.query else one.path
    sent = (body or json.dumps(one.body)) if one.route.method == "POST" else ""
    got: Any = client.generic(one.route.method, path, sent, content_type="application/json")
    if got.status_code in (401, 403, 404, 405, 429) or got.status_code >= 500:
        return str(got.status_code)
    shown = got.json() if got.headers.get("Content-Type") == "application/json" and got.content else None
    return "none" if _is_empty(shown) else "yes"


def _is_empty(shown: Any) -> bool:
    return shown == [] or (isinstance(shown, dict) and shown.get("results") == [])


def table(callers: Sequence[str], found: Mapping[Route, Mapping[str, str]]) -> str:
    """Return the answers as Markdown, in the order of the addresses."""
    lines = [f"| route | {' | '.join(callers)} |", f"| --- |{' --- |' * len(callers)}"]
    for route, answers in sorted(found.items(), key=lambda item: (item[0].address, item[0].method)):
        cells = " | ".join(answers[one] for one in callers)
        lines.append(f"| {route.method} `{route.address}` | {cells} |")
    return "\n".join(lines) + "\n"


def written(text: str) -> dict[str, list[str]]:
    """Return the rows of a table by their first cell, to be compared."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {first: rest for first, *rest in rows}
