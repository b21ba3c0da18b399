"""How exceptions become refusals: a reason, a sentence, what to do next, and nothing of the inside."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from rest_framework import exceptions

from bursary.api import refusals
from bursary.assignments import allocation
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.matching import BadAddresses, TooManyAddresses
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from bursary.replica.reads import ContentUnavailable
from bursary.replica.refresh import RefreshReport
from tests.api.door import Door
from tests.world import ALICE

POLICY = "11111111-1111-4111-8111-111111111111"


def answered(error: Exception, **kwargs: object) -> tuple[int, Any]:
    response = refusals.handle(error, {"kwargs": kwargs})
    assert response is not None
    return response.status_code, response.data


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (exceptions.ParseError(), 400, "invalid_request"),
        (exceptions.ValidationError("Wrong."), 400, "invalid_request"),
        (exceptions.NotAuthenticated(), 401, "not_signed_in"),
        (exceptions.AuthenticationFailed(), 401, "not_signed_in"),
        (exceptions.PermissionDenied(), 403, "not_permitted"),
        (PermissionDenied("Not yours."), 403, "not_permitted"),
        (Http404("Nowhere."), 404, "not_found"),
        (Http404(), 404, "not_found"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (RequestDataTooBig(), 413, "body_too_large"),
        (exceptions.UnsupportedMediaType("text/plain"), 415, "unsupported_media_type"),
        (exceptions.Throttled(wait=7), 429, "too_many_requests"),
        (ContentUnavailable("Silence.", so_far=RefreshReport()), 503, "catalog_unavailable"),
        (BadAddresses({3: "Enter a valid email address."}), 400, "invalid_addresses"),
        (TooManyAddresses(10_001), 400, "too_many_addresses"),
    ],
)
def test_every_refusal_has_a_reason_a_sentence_and_a_next_step(
    error: Exception, status: int, reason: str
) -> None:
    code, body = answered(error)
    assert (code, body["reason"]) == (status, reason)
    assert isinstance(body["detail"], str)
    assert len(body["detail"]) > 3
    assert len(body["next_step"]) > 10


def test_an_unforeseen_status_still_has_all_three() -> None:
    class Teapot(exceptions.APIException):
        status_code = 418
        default_detail = "Short and stout."

    code, body = answered(Teapot())
    assert code == 418
    assert body == {
        "reason": "refused",
        "detail": "Short and stout.",
        "next_step": "See /api/v1/docs/.",
    }


def test_a_sentence_of_bursary_is_kept() -> None:
    assert answered(Http404("There is no such budget."))[1]["detail"] == "There is no such budget."
    assert answered(PermissionDenied("Not yours."))[1]["detail"] == "Not yours."


def test_the_largest_body_is_named() -> None:
    assert str(settings.DATA_UPLOAD_MAX_MEMORY_SIZE) in answered(RequestDataTooBig())[1]["detail"]


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        ({"price": ["Too low."]}, "price: Too low."),
        ({"emails": {"3": ["Bad."], "5": ["Worse."]}}, "emails.3: Bad."),
        ({"rows": [{}, {"price": ["Too low."]}]}, "rows.price: Too low."),
        ({"non_field_errors": ["No object."]}, "No object."),
        (["Alone."], "Alone."),
        ([], ""),
    ],
)
def test_the_first_of_nested_errors_is_shown_with_its_path(said: Any, detail: str) -> None:
    _code, body = answered(exceptions.ValidationError(said))
    assert body["detail"] == detail


def test_all_nested_errors_stay_beside_it() -> None:
    said: Any = {"emails": {"3": ["Bad."], "5": ["Worse."]}, "price": ["Too low."]}
    _code, body = answered(exceptions.ValidationError(said))
    assert {name: body[name] for name in said} == said


def test_a_refused_allocation_is_an_array_with_its_figures_in_json() -> None:
    deadline = datetime(2026, 3, 1, tzinfo=UTC)
    refused = AllocationRefused("deadline_passed", "Too late.", "Choose another.", {"deadline": deadline})
    code, body = answered(refused, policy_uuid=POLICY)
    assert code == 422
    assert body == [
        {
            "reason": "deadline_passed",
            "user_message": "Too late.",
            "next_step": "Choose another.",
            "metadata": {"enterprise_administrators": []},
            "policy_uuids": [POLICY],
            "deadline": "2026-03-01T00:00:00+00:00",
        }
    ]


def test_what_is_refused_together_is_answered_together() -> None:
    both = [{"reason": "first"}, {"reason": "second"}]
    assert answered(refusals.Unprocessable(both)) == (422, both)


def test_a_server_error_is_left_to_be_logged_as_one() -> None:
    assert refusals.handle(RuntimeError("a secret"), {"kwargs": {}}) is None


@pytest.mark.django_db
def test_a_server_error_shows_no_internals(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(allocation, "allocate", break_down)
    door.client.raise_request_exception = False
    answer = door.allocate(budget, content, ALICE)
    assert answer.status_code == 500
    text = answer.content.decode()
    assert "secret" not in text
    assert "Traceback" not in text
