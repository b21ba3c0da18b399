"""The API's own description: whole, valid, and in agreement with the addresses that there are."""

import json
import re
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import jsonschema_rs
import pytest
from django.urls import URLPattern
from drf_spectacular import validation
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

from bursary.api import docs, subsidy_urls, urls
from bursary.assignments import reminders
from tests import described
from tests.api.door import Door, refusal_of
from tests.docs.pages import first_column, page
from tests.together import together

UNDESCRIBED = {"schema", "docs", None}  # the description itself, its reader, and every unknown address


@pytest.fixture(scope="module")
def schema() -> Any:
    return docs.schema()


def operation(schema: Any, ending: str, method: str) -> Any:
    [found] = [described for path, described in schema["paths"].items() if path.endswith(ending)]
    return found[method]


def test_the_description_is_valid_and_nothing_in_it_is_guessed() -> None:
    GENERATOR_STATS.reset()
    made = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # has none
    assert not GENERATOR_STATS, "warnings are on standard error"
    rules = json.loads((Path(validation.__file__).parent / "openapi_3_1_schema.json").read_bytes())
    written = json.loads(OpenApiJsonRenderer().render(made))
    assert written["openapi"].startswith("3.1.")
    assert [str(one) for one in jsonschema_rs.validator_for(rules).iter_errors(written)] == []


def test_two_that_ask_for_it_at_once_have_it_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that make it at once fail: drf-spectacular loads its extensions at the first time."""
    made: list[object] = []
    another_makes_it_too = Barrier(2, timeout=0.5)

    class Slow:
        def get_schema(self, **_asked: object) -> Any:
            made.append(self)
            with suppress(BrokenBarrierError):
                another_makes_it_too.wait()
            return {"paths": {}}

    monkeypatch.setattr(docs, "SchemaGenerator", Slow)
    docs._made.cache_clear()

    assert together([docs.schema, docs.schema]) == [{"paths": {}}] * 2

    docs._made.cache_clear()
    assert len(made) == 1


def test_every_address_is_described(schema: Any) -> None:
    patterns = [*urls.urlpatterns, *subsidy_urls.urlpatterns]
    named = {pattern.name for pattern in patterns if isinstance(pattern, URLPattern)}
    assert len(schema["paths"]) == len(named - UNDESCRIBED)
    assert all(path.startswith(("/api/v1/", "/api/v2/subsidies/")) for path in schema["paths"])


def test_every_operation_says_what_it_does_and_how_to_sign_in(schema: Any) -> None:
    for path, methods in schema["paths"].items():
        for method, one in methods.items():
            assert one["description"], (path, method)
            # By its body: there is no session.
            signed = path.endswith(("/content-events/", "/mail-events/{provider}/"))
            assert ({"ApiKey": []} in one.get("security", [])) != signed, (path, method)
    assert schema["components"]["securitySchemes"]["ApiKey"] == {"type": "http", "scheme": "bearer"}


def test_every_component_has_a_name_that_openapi_allows(schema: Any) -> None:
    names = [name for kind in schema["components"].values() for name in kind]
    assert [name for name in names if not re.fullmatch(r"[a-zA-Z0-9._-]+", name)] == []


@pytest.mark.parametrize(
    ("component", "field"),
    [("AddressPairInput", "old_address"), ("SkipInput", "reason"), ("AllocateInput", "content_key")],
)
def test_a_text_of_blanks_is_none_by_the_schema_as_by_the_api(
    schema: Any, component: str, field: str
) -> None:
    shapes = schema["components"]["schemas"]
    [shape] = [
        shapes[name]["properties"][field] for name in (f"{component}Request", component) if name in shapes
    ]
    found = jsonschema_rs.validator_for(shape)
    blanks = [chr(code) for code in range(sys.maxunicode) if not chr(code).strip()]

    assert "\x1e" in blanks
    assert [blank for blank in blanks if found.is_valid(blank)] == []
    assert all(found.is_valid(f"{blank}a{blank}") for blank in blanks)


def test_every_filter_and_ordering_is_described(schema: Any) -> None:
    described = operation(schema, "/admin/assignments/", "get")["parameters"]
    parameters = {parameter["name"]: parameter for parameter in described}
    for field in ("title", "start", "end", "enroll_by", "price_cents", "course_type", "partner"):
        assert f"content_{field}" in parameters
    assert parameters.keys() >= {"search", "ordering", "page", "page_size", "state__in", "learner_state__in"}
    orderings = parameters["ordering"]["schema"]["items"]["enum"]
    assert {"content_title", "-content_title", "content_partner"} <= set(orderings)


def test_no_parameter_is_described_by_a_librarys_default(schema: Any) -> None:
    described = {
        (one["name"], one.get("description", "").strip())
        for methods in schema["paths"].values()
        for one_operation in methods.values()
        for one in one_operation.get("parameters", ())
    }
    defaults = ("A search term", "Ordering", "Which field", "Multiple values may be")
    assert {one for one in described if one[1].startswith(defaults)} == set()
    assert {text for name, text in described if name == "ordering"} == {
        "The keys to sort by, separated by commas; a `-` before a key reverses its order"
    }
    assert dict(described)["state__in"] == "Any of these values, separated by commas"
    assert dict(described)["learner_email__in"] == "Any of these addresses of learners, separated by commas"


def test_reminding_again_is_described_with_the_time_after_which_it_sends_a_mail(schema: Any) -> None:
    assert timedelta(minutes=10) == reminders.REQUEST_INTERVAL
    for ending in ("/remind/", "/nudge/"):
        description = operation(schema, ending, "post")["description"]
        assert "repeated within ten minutes sends no second e-mail; a later one does." in " ".join(
            description.split()
        )


def test_the_envelope_of_the_assignments_has_the_counts(schema: Any) -> None:
    answer = operation(schema, "/admin/assignments/", "get")["responses"]["200"]
    reference = answer["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
    envelope = schema["components"]["schemas"][reference]["properties"]
    assert envelope.keys() >= {"count", "num_pages", "current_page", "results", "learner_state_counts"}


def test_what_is_sent_to_allocate_is_described(schema: Any) -> None:
    body = schema["components"]["schemas"]["AllocateInput"]["properties"]
    assert body["content_price_cents"]["type"] == "number"  # as browsers compute it
    text, anything, _null = body["learner_emails"]["items"]["anyOf"]
    assert (text, anything.keys()) == ({"type": "string"}, {"description"})  # which is named as a bad address
    assert "202" in operation(schema, "/allocate/", "post")["responses"]


def reasons(operation: Any) -> dict[str, set[str]]:
    """Return the reasons of an operation's refusals by status, from their shapes."""
    return {
        status: {*_reason(described_shape(answer))}
        for status, answer in operation["responses"].items()
        if status >= "400"
    }


def described_shape(answer: Any) -> Any:
    return resolved(answer["content"]["application/json"]["schema"])


def resolved(shape: Any) -> Any:
    return described.schema()["components"]["schemas"][shape["$ref"].split("/")[-1]]


def _reason(shape: Any) -> list[str]:
    found: list[str] = shape.get("items", shape)["properties"]["reason"]["enum"]
    return found


def test_each_operation_has_its_refusals_with_their_reasons(schema: Any) -> None:
    found = reasons(operation(schema, "/policy-allocation/{policy_uuid}/allocate/", "post"))
    assert found.keys() == {
        "400",
        "401",
        "403",
        "404",
        "406",
        "409",
        "413",
        "415",
        "422",
        "429",
        "500",
        "503",
    }
    assert found["400"] == {"invalid_request", "unknown_parameter", "invalid_addresses", "too_many_addresses"}
    assert found["422"] >= {"policy_spend_limit_reached", "price_out_of_band", "idempotency_key_reused"}
    assert found["503"] >= {"catalog_unavailable", "outcome_unknown", "signing_keys_unavailable"}

    read = reasons(operation(schema, "/subsidy-access-policies/", "get"))
    assert read.keys() == {"400", "401", "403", "404", "406", "429", "500", "503"}

    signed = reasons(operation(schema, "/content-events/", "post"))
    assert "403" not in signed
    assert "409" not in signed
    assert signed["401"] == {
        *("webhook_headers_missing", "webhook_timestamp_wrong", "webhook_signature_wrong"),
    }


def test_every_example_is_one_of_what_it_stands_for(schema: Any) -> None:
    examples = [
        (where, [*place, "content", kind, "schema"], example)
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
        for where, place, holder in (
            (f"{method} {path}", ["paths", path, method, "requestBody"], one.get("requestBody", {})),
            *(
                (f"{method} {path} {status}", ["paths", path, method, "responses", status], answer)
                for status, answer in one["responses"].items()
            ),
        )
        for kind, content in holder.get("content", {}).items()
        for example in (
            *(shown["value"] for shown in content.get("examples", {}).values()),
            *([content["example"]] if "example" in content else []),
        )
    ]
    sent = [where for where, _place, _example in examples if where.startswith("post") and where.endswith("/")]
    # What a mail provider sends is the provider's to describe.
    with_bodies = [one for one in schema["paths"].values() if "requestBody" in one.get("post", {})]
    assert len(sent) == len(with_bodies) == len([1 for one in schema["paths"].values() if "post" in one]) - 1
    for where, place, example in examples:
        problem = next(described.validator(*place).iter_errors(example), None)
        assert not problem, (where, problem)


def test_refusals_by_rules_are_arrays_and_others_objects(schema: Any) -> None:
    for path, methods in schema["paths"].items():
        for method, one in methods.items():
            for status, answer in one["responses"].items():
                if status >= "400":
                    is_array = described_shape(answer)["type"] == "array"
                    assert is_array == (status == "422"), (path, method, status)


def test_every_reason_of_the_page_is_described_and_no_other(schema: Any) -> None:
    described_ones = set.union(
        *(
            found
            for methods in schema["paths"].values()
            for one in methods.values()
            for found in reasons(one).values()
        )
    )
    # Of other methods, of what a proxy answers, and of what the framework might.
    elsewhere = {"method_not_allowed", "refused"}
    assert described_ones == {*first_column(page("docs/api.md"), "Reasons")} - elsewhere


def test_what_passes_says_when_to_come_again(schema: Any) -> None:
    for methods in schema["paths"].values():
        for one in methods.values():
            assert "Retry-After" in one["responses"]["503"]["headers"]


def test_what_acts_on_all_that_is_found_has_the_filters_of_the_list(schema: Any) -> None:
    ignored = {"page", "page_size", "cursor"}
    of_list = {one["name"] for one in operation(schema, "/admin/assignments/", "get")["parameters"]} - ignored
    for ending in ("cancel-all/", "remind-all/", "retry-all/", "extend-all/"):
        found = {one["name"] for one in operation(schema, ending, "post")["parameters"]}
        assert found - {"Idempotency-Key"} == of_list, ending
    assert {one["name"] for one in operation(schema, "/export/", "get")["parameters"]} == of_list


def test_every_operation_has_a_summary_and_a_tag_that_says_what_it_is(
    schema: Any,
) -> None:
    known = {tag["name"] for tag in schema["tags"] if tag["description"]}
    for methods in schema["paths"].values():
        for one in methods.values():
            assert len(one["summary"]) > 15
            assert not one["summary"].endswith(".")
            assert known >= {*one["tags"]}


@pytest.mark.django_db
def test_a_key_that_does_not_work_is_refused_at_the_description_as_elsewhere() -> None:
    door = Door(key="nonsense")
    for path in ("schema/", "docs/"):
        assert refusal_of(door.get(path)) == (401, "not_signed_in")
    assert refusal_of(Door().send("GET", "docs/", HTTP_ACCEPT="image/png")) == (406, "not_acceptable")


@pytest.mark.django_db
def test_the_page_uses_what_is_served_from_here_alone() -> None:
    answer = Door().get("docs/")
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    assert "<script>" not in answer.content.decode()


@pytest.mark.django_db
def test_the_description_and_its_reader_are_served_from_here_alone() -> None:
    """The page that explains how to sign in is read without signing in."""
    door = Door()
    described = door.get("schema/")
    assert described.status_code == 200
    assert b"openapi: 3" in described.content
    shown = door.get("docs/").content.decode()
    assert "/static/drf_spectacular_sidecar/" in shown
    assert "cdn." not in shown
