"""Addresses and methods that the API does not have, and answers in other forms than it gives."""

from typing import Any
from uuid import uuid4

import pytest

from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Door, allocating, for_every_user, listing, of_the_budget, refusal_of
from tests.world import given_assignment

pytestmark = pytest.mark.django_db

NOBODYS = "0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a"
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"}


@pytest.fixture
def assignment(budget: Budget, content: ContentMetadata) -> LearnerContentAssignment:
    return given_assignment(budget, content)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "nope",
        "nope/",
        "%00",
        "%0A/",
        "a%0Ab/",
        "../",
        "subsidy-access-policies",
        "subsidy-access-policies/x/",
        f"subsidy-access-policies/{NOBODYS}",
        f"subsidy-access-policies/{NOBODYS}/more/",
        "policy-allocation/x/allocate/",
        f"policy-allocation/{NOBODYS}/",
        f"policy-allocation/{NOBODYS.upper()}/allocate/",
        f"assignment-configurations/{NOBODYS}/",
        f"assignment-configurations/{NOBODYS}/admin/assignments",
        f"assignment-configurations/{NOBODYS}/admin/assignments/x/",
        f"assignment-configurations/{NOBODYS}/admin/assignments/{NOBODYS}/actions",
    ],
)
def test_an_address_that_there_is_not_is_404_in_json_with_any_key(method: str, path: str) -> None:
    answer = Door(key="nonsense").send(method, path, b"not json", content_type="text/plain")
    assert refusal_of(answer) == (404, "not_found")
    assert answer.headers["Content-Type"] == "application/json"
    assert "/api/v1/docs/" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1",
        "/api/v1/docs",
        "/api/v1/subsidy-access-policies",
        f"/api/v1/subsidy-access-policies/{NOBODYS}",
        f"/api/v1/policy-allocation/{NOBODYS}/allocate",
        "/api/v1/content-metadata/RiversideX+T1",
        f"/api/v2/subsidies/{NOBODYS}/admin/transactions",
    ],
)
def test_an_address_without_its_slash_is_404_in_json_and_the_sentence_says_so(method: str, path: str) -> None:
    answer = Door().client.generic(method, path)
    assert refusal_of(answer) == (404, "not_found")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["detail"] == (
        "The API has this URL with a slash at its end; /api/v1/docs/ lists all."
    )
    assert answer.json()["next_step"] == "Send the request to the address with its slash."


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v2", "/api/v2/", "/api/v2/nope", "/api/v3/nope/"])
def test_an_address_outside_both_versions_is_404_in_json(path: str) -> None:
    answer = Door().client.get(path)
    assert refusal_of(answer) == (404, "not_found")
    assert answer.json()["detail"] == "The API has no such URL; /api/v1/docs/ lists all."
    assert answer.json()["next_step"].startswith("Check the URL and the identifiers in it")


def test_a_budget_that_there_is_not_is_404_at_each_of_its_addresses(
    door: Door, assignment: LearnerContentAssignment
) -> None:
    budget = assignment.budget
    for method, path in of_the_budget(assignment):
        elsewhere = path.replace(str(budget.uuid), str(uuid4()))
        elsewhere = elsewhere.replace(str(budget.assignment_configuration_uuid), str(uuid4()))
        assert elsewhere != path
        assert refusal_of(door.send(method, elsewhere, b"{}")) == (404, "not_found"), path


def test_a_method_that_an_address_does_not_take_is_405_in_json(
    door: Door, assignment: LearnerContentAssignment, content: ContentMetadata
) -> None:
    for allowed, path in [*of_the_budget(assignment), *for_every_user(content)]:
        for method in METHODS - {allowed}:
            answer = door.send(method, path, b"{}")
            assert refusal_of(answer) == (405, "method_not_allowed"), (method, path)
            assert answer.headers["Content-Type"] == "application/json"
            assert allowed in answer.headers["Allow"]


def test_the_head_of_what_can_be_read_can_be_read(door: Door, assignment: LearnerContentAssignment) -> None:
    answer = door.send("HEAD", listing(assignment.budget))
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("accept", ["application/xml", "text/csv", "nonsense"])
def test_what_is_not_given_in_another_form_is_406_in_json(door: Door, budget: Budget, accept: str) -> None:
    answer = door.send("GET", listing(budget), HTTP_ACCEPT=accept)
    assert refusal_of(answer) == (406, "not_acceptable")
    assert answer.headers["Content-Type"] == "application/json"


def test_a_format_that_there_is_not_is_404(door: Door, budget: Budget) -> None:
    assert refusal_of(door.assignments(budget, format="xml")) == (404, "not_found")
    assert door.assignments(budget, format="json").status_code == 200


def page(answer: Any, status: int) -> str:
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    text: str = answer.content.decode()
    return text


def test_a_browser_is_shown_every_answer_as_a_page(
    door: Door, assignment: LearnerContentAssignment, content: ContentMetadata
) -> None:
    for method, path in [*of_the_budget(assignment), *for_every_user(content)]:
        shown = page(door.send("GET", path, HTTP_ACCEPT="text/html"), 200 if method == "GET" else 405)
        assert "GET" in shown


def test_a_browser_is_shown_the_lists_filters(door: Door, assignment: LearnerContentAssignment) -> None:
    shown = page(door.send("GET", listing(assignment.budget), HTTP_ACCEPT="text/html"), 200)
    assert 'name="content_price_cents__gte"' in shown
    assert str(assignment.uuid) in shown


@pytest.mark.parametrize("query", ["?page_size=1&page=2", "?ordering=nope", "?page=9", "?search=%00"])
def test_a_browser_is_shown_refusals_too(
    door: Door, assignment: LearnerContentAssignment, query: str
) -> None:
    answer = door.send("GET", f"{listing(assignment.budget)}{query}", HTTP_ACCEPT="text/html")
    page(answer, 400 if "nope" in query or "search" in query else 404)


@pytest.mark.parametrize(
    ("body", "status"), [(b"{}", 400), (b"not json", 400), (b"[" * 100_000, 400), (b"[]", 400)]
)
def test_a_browser_is_shown_why_an_allocation_is_refused(
    door: Door, budget: Budget, body: bytes, status: int
) -> None:
    shown = page(door.send("POST", allocating(budget), body, HTTP_ACCEPT="text/html"), status)
    assert "invalid_request" in shown


def test_a_browser_that_is_not_signed_in_is_asked_to(budget: Budget) -> None:
    answer = Door().send("GET", listing(budget), HTTP_ACCEPT="text/html")
    assert "not_signed_in" in page(answer, 401)
