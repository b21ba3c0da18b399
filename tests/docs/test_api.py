"""What the page on the API names is what the API has."""

import re
from typing import Any
from urllib.parse import urljoin
from uuid import UUID

from django.urls import resolve
from django.urls.resolvers import URLPattern

from bursary.access.models import Role
from bursary.api import paging, subsidy_urls, urls
from bursary.api.not_found import UnknownURL
from bursary.assignments.listing import DEFAULT_ORDERING, ORDERINGS, AssignmentFilters
from bursary.assignments.matching import MAX_ADDRESSES
from tests.docs.pages import first_column, page, rows, section, spans

API = page("docs/api.md")
PAGING = section(API, "Page, filter and sort")


def parameters(cell: str) -> set[str]:
    """Return a cell's parameters; what begins with `__` is appended to each of the others."""
    names = spans(cell)
    endings = [name for name in names if name.startswith("__")]
    plain = [name for name in names if not name.startswith("__")]
    return {*plain, *(name + ending for name in plain for ending in endings)}


def address_of(route: URLPattern) -> str:
    """Return a route's address, with {} for each parameter."""
    return re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]*>", "{}", str(route.pattern)).strip("^$")


def test_every_address_exists_and_takes_its_method() -> None:
    for row in rows(section(API, "Endpoints")):
        method, address = row[0].split(" ", 1)
        path = re.sub(r"\{\w+\}", str(UUID(int=0)), spans(address)[0])
        view: Any = resolve(urljoin("/api/v1/", path)).func
        assert view.cls is not UnknownURL, address
        assert hasattr(view.cls, method.lower()), row[0]


def test_every_route_of_the_api_is_in_the_table_with_its_methods() -> None:
    documented = {
        re.sub(r"\{\w+\}", "{}", row[0].replace("`", "")) for row in rows(section(API, "Endpoints"))
    }

    views: dict[str, Any] = {
        address_of(route) or "/api/v1/": route.callback for route in urls.urlpatterns if route.name
    }
    views |= {f"/api/v2/{address_of(route)}": route.callback for route in subsidy_urls.urlpatterns}
    assert documented == {
        f"{method.upper()} {address}"
        for address, view in views.items()
        for method in ("get", "post", "put", "patch", "delete")
        if view.cls is not UnknownURL and hasattr(view.cls, method)
    }


def test_the_filters_are_those_that_the_list_has() -> None:
    documented = {name for row in rows(PAGING) for name in parameters(row[0])}

    assert documented == set(AssignmentFilters.base_filters) - {"ordering"}


def test_the_orderings_are_those_that_the_list_has() -> None:
    described = re.search(r"descending: (.*?)\. The default is `(.*?)`", PAGING, re.DOTALL)

    assert described is not None
    assert set(spans(described.group(1))) == set(ORDERINGS)
    assert described.group(2) == DEFAULT_ORDERING


def test_the_limits_are_those_that_hold() -> None:
    assert f"`page_size` ({paging.DEFAULT_SIZE}, at most {paging.LARGEST_SIZE})" in PAGING
    assert f"At most {MAX_ADDRESSES:,} addresses." in API


def test_every_role_says_what_it_may() -> None:
    assert set(first_column(API, "Authenticate")) == set(Role.values)
