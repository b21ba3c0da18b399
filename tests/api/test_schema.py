"""The API's own description: whole, valid, and in agreement with the addresses that there are."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import URLPattern
from drf_spectacular.generators import SchemaGenerator

from bursary.api import subsidy_urls, urls
from tests.api.door import Door

UNDESCRIBED = {"schema", "docs", None}  # the description itself, its reader, and every unknown address


@pytest.fixture(scope="module")
def schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has none


def operation(schema: Any, ending: str, method: str) -> Any:
    [found] = [described for path, described in schema["paths"].items() if path.endswith(ending)]
    return found[method]


def test_the_description_is_valid_and_nothing_in_it_is_guessed(tmp_path: Path) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yaml"))


def test_every_address_is_described(schema: Any) -> None:
    patterns = [*urls.urlpatterns, *subsidy_urls.urlpatterns]
    named = {pattern.name for pattern in patterns if isinstance(pattern, URLPattern)}
    assert len(schema["paths"]) == len(named - UNDESCRIBED)
    assert all(path.startswith(("/api/v1/", "/api/v2/subsidies/")) for path in schema["paths"])


def test_every_operation_says_what_it_does_and_how_to_sign_in(schema: Any) -> None:
    for path, methods in schema["paths"].items():
        for method, described in methods.items():
            assert described["description"], (path, method)
            # By its body: there is no session.
            signed = path.endswith(("/content-events/", "/mail-events/{provider}/"))
            assert ({"ApiKey": []} in described.get("security", [])) != signed, (path, method)
    assert schema["components"]["securitySchemes"]["ApiKey"] == {"type": "http", "scheme": "bearer"}


def test_every_component_has_a_name_that_openapi_allows(schema: Any) -> None:
    names = [name for kind in schema["components"].values() for name in kind]
    assert [name for name in names if not re.fullmatch(r"[a-zA-Z0-9._-]+", name)] == []


def test_every_filter_and_ordering_is_described(schema: Any) -> None:
    described = operation(schema, "/admin/assignments/", "get")["parameters"]
    parameters = {parameter["name"]: parameter for parameter in described}
    for field in ("title", "start", "end", "enroll_by", "price_cents", "course_type", "partner"):
        assert f"content_{field}" in parameters
    assert parameters.keys() >= {"search", "ordering", "page", "page_size", "state__in", "learner_state__in"}
    orderings = parameters["ordering"]["schema"]["items"]["enum"]
    assert {"content_title", "-content_title", "content_partner"} <= set(orderings)


def test_the_envelope_of_the_assignments_has_the_counts(schema: Any) -> None:
    answer = operation(schema, "/admin/assignments/", "get")["responses"]["200"]
    reference = answer["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
    envelope = schema["components"]["schemas"][reference]["properties"]
    assert envelope.keys() >= {"count", "num_pages", "current_page", "results", "learner_state_counts"}


def test_what_is_sent_to_allocate_is_described(schema: Any) -> None:
    body = schema["components"]["schemas"]["AllocateInput"]["properties"]
    assert body["content_price_cents"]["type"] == "integer"
    assert body["learner_emails"]["items"]["format"] == "email"
    assert "202" in operation(schema, "/allocate/", "post")["responses"]


@pytest.mark.django_db
def test_the_description_and_its_reader_are_served_from_here_alone() -> None:
    """The page that explains how to sign in is read without signing in."""
    door = Door()
    described = door.get("schema/")
    assert described.status_code == 200
    assert b"openapi: 3" in described.content
    page = door.get("docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert "cdn." not in page
