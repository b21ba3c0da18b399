"""Which answer enterprise-catalog gives at which address, for which caller and parameters."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from tests.enterprise_catalog.database import CatalogDatabase, content_key
from tests.enterprise_catalog.faults import HTML
from tests.enterprise_catalog.views import Record, as_served

PAGE_SIZE, MAX_PER_PAGE, MAX_KEYS = 10, 100, 100
CUSTOMER = "33333333-3333-4333-8333-333333333333"

_CATALOG = re.compile(r"/api/v([12])/enterprise-catalogs/([^/]+)/(?:([a-z_]+)/?)?")
_CONTENT = re.compile(r"/api/v1/content-metadata/(?:([^/]+)/?)?")
_NOT_FOUND = "Not found."

Query = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Answer:
    """A status, and a JSON value, or bytes for a page of HTML."""

    status: int
    value: object


@dataclass(frozen=True)
class _Asked:
    method: str
    query: Query
    body: bytes
    database: CatalogDatabase
    url: str
    path: str

    def first(self, name: str) -> str:
        return self.query.get(name, [""])[0]


def answer_to(
    method: str, path: str, *, query: Query, body: bytes, database: CatalogDatabase, url: str, has_role: bool
) -> Answer:
    """Answer a caller with a valid token."""
    asked = _Asked(method, query, body, database, url, path)
    if at := _CONTENT.fullmatch(path):
        return _one(asked, at.group(1)) if at.group(1) else _many(asked)
    at = _CATALOG.fullmatch(path)
    if at is None:
        return Answer(404, HTML)
    version, catalog, action = at.groups()
    try:
        catalog = str(UUID(catalog))
    except ValueError:
        return Answer(500, HTML)
    if not database.knows(catalog):
        return Answer(404, {"detail": _NOT_FOUND})
    if not has_role:
        return Answer(403, {"detail": "MISSING: catalog.has_learner_access"})
    return _of_catalog(asked, catalog, action, shows_restricted=version == "2")


def _of_catalog(asked: _Asked, catalog: str, action: str | None, *, shows_restricted: bool) -> Answer:
    match action, asked.method:
        case "get_content_metadata", "GET":
            return _content(asked, catalog, shows_restricted=shows_restricted)
        case "get_content_metadata", _:
            return Answer(405, {"detail": f'Method "{asked.method}" not allowed.'})
        case "generate_diff", _:
            return _difference(asked, catalog)
        case "contains_content_items", "GET":
            return _contains(asked, catalog)
        case None, "GET":
            stamps = [str(stamp) for stamp in asked.database.updated(catalog).values() if stamp]
            return Answer(200, {"uuid": catalog, "content_last_modified": max(stamps, default=None)})
    return Answer(404, {"detail": _NOT_FOUND})


# -- What a catalog holds -----------------------------------------------------------------------------------


def _content(asked: _Asked, catalog: str, *, shows_restricted: bool) -> Answer:
    keys = asked.query.get("content_keys", [])
    if len(set(keys)) > MAX_KEYS:
        return Answer(400, f"get_content_metadata GET requests support up to {MAX_KEYS}. Please use POST.")
    found = asked.database.by_keys(catalog, keys) if keys else asked.database.listing(catalog)
    if not shows_restricted:
        found = [as_served(record, allowed=()) for record in found]
    named = {"uuid": catalog, "title": "All courses", "enterprise_customer": CUSTOMER}
    if asked.first("traverse_pagination"):  # "False" and "0" are not empty
        return Answer(200, {"count": len(found), "next": None, "previous": None, "results": found, **named})
    return _page(asked, found, size=_page_size(asked, limit=MAX_PER_PAGE), more=named)


def _page_size(asked: _Asked, *, limit: int | None) -> int:
    named = asked.first("page_size")
    size = int(named) if named.isdecimal() and int(named) else PAGE_SIZE
    return min(size, limit) if limit else size


def _page(asked: _Asked, found: Sequence[Record], *, size: int, more: Mapping[str, object]) -> Answer:
    number = asked.first("page") or "1"
    pages = max(-(-len(found) // size), 1)
    if not number.isdecimal() or not 1 <= int(number) <= pages:
        return Answer(404, {"detail": "Invalid page."})
    at = int(number)

    def link(page: int) -> str | None:
        if not 1 <= page <= pages:
            return None
        query = {name: list(values) for name, values in asked.query.items()} | {"page": [str(page)]}
        return f"{asked.url}{asked.path}?{urlencode(query, doseq=True)}"

    start = (at - 1) * size
    return Answer(
        200,
        {
            "count": len(found),
            "num_pages": pages,
            "current_page": at,
            "start": start,
            "next": link(at + 1),
            "previous": link(at - 1),
            "results": list(found[start : start + size]),
            **more,
        },
    )


def _difference(asked: _Asked, catalog: str) -> Answer:
    if asked.method == "GET":
        keys: Any = asked.query.get("content_keys")
        if not keys:
            return Answer(400, ["You must provide at least one of the following: content_keys."])
        keys = [] if keys == ["[]"] else keys
        if len(keys) > MAX_KEYS:
            return Answer(400, f"catalog_diff GET requests support up to {MAX_KEYS}. Please use POST.")
    else:
        keys = json.loads(asked.body or b"{}").get("content_keys") or []
    members, updated = asked.database.members(catalog), asked.database.updated(catalog)
    given = set(keys)
    not_found: list[Any] = [{"content_key": key} for key in given - members]
    if not asked.database.has_query(catalog):
        not_found = [keys]  # a list in the list, [[]] for no keys
    return Answer(
        200,
        {
            "items_not_found": not_found,
            "items_not_included": [{"content_key": key} for key in members - given],
            "items_found": [{"content_key": key, "date_updated": updated[key]} for key in members & given],
        },
    )


def _contains(asked: _Asked, catalog: str) -> Answer:
    """One good key among bad ones is enough."""
    keys = [*asked.query.get("course_run_ids", []), *asked.query.get("program_uuids", [])]
    return Answer(200, {"contains_content_items": bool(asked.database.by_keys(catalog, keys))})


# -- Whatever catalog holds it ------------------------------------------------------------------------------


def _one(asked: _Asked, identifier: str) -> Answer:
    found = asked.database.anywhere(identifier)
    if not found:
        return Answer(404, {"detail": _NOT_FOUND})
    course = found[0].get("parent_content_key")
    if asked.first("coerce_to_parent_course") and course:
        found = asked.database.anywhere(str(course)) or found
    return Answer(200, _without_customer(found[0]))


def _many(asked: _Asked) -> Answer:
    named = dict.fromkeys(asked.query.get("content_identifiers", []))
    found = [record for identifier in named for record in asked.database.anywhere(identifier)]
    once = {content_key(record): _without_customer(record) for record in found}
    return _page(asked, list(once.values()), size=_page_size(asked, limit=None), more={})


def _without_customer(record: Record) -> Record:
    return {
        name: value for name, value in record.items() if name not in ("enrollment_url", "xapi_activity_id")
    }
