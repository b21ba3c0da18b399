"""Every refusal on the wire: a stable reason code, a sentence for people, and what to do next.

Business refusals of a request are 422 with a JSON array, whose first element clients read for its `reason`;
everything else is an object. Nothing was changed in either case.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from bursary.assignments.addresses import BadAddresses, TooManyAddresses
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.declining import DeclineRefused
from bursary.assignments.listing import ContentFiltersUnavailable
from bursary.assignments.redemption import RedemptionRefused
from bursary.events.webhook import WebhookRefused
from bursary.replica.reads import ContentUnavailable

_NEXT_STEPS: Mapping[int, tuple[str, str]] = {
    status.HTTP_400_BAD_REQUEST: ("invalid_request", "Correct what is named here and send it again."),
    status.HTTP_401_UNAUTHORIZED: ("not_signed_in", "Sign in, or send Authorization: Bearer <API key>."),
    status.HTTP_403_FORBIDDEN: ("not_permitted", "Ask an administrator of this organisation."),
    status.HTTP_404_NOT_FOUND: ("not_found", "Check the address and the identifiers in it."),
    status.HTTP_405_METHOD_NOT_ALLOWED: (
        "method_not_allowed",
        "See the API description for what is allowed.",
    ),
    status.HTTP_406_NOT_ACCEPTABLE: ("not_acceptable", "Accept application/json."),
    status.HTTP_411_LENGTH_REQUIRED: (
        "length_required",
        "Send the body as a whole, with its Content-Length and without Transfer-Encoding.",
    ),
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE: ("body_too_large", "Send less in one request."),
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: ("unsupported_media_type", "Send application/json."),
    status.HTTP_429_TOO_MANY_REQUESTS: ("too_many_requests", "Wait a little and try again."),
}


class BodyTooLarge(exceptions.APIException):
    """The request's body is larger than any that is read."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."


class LengthRequired(exceptions.APIException):
    """The request does not say how long its body is."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "The body comes in chunks, without a Content-Length, and is not read."


class Unprocessable(Exception):
    """A request that is understood and refused, in the clients' array shape."""

    def __init__(self, refusals: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(refusals[0]["reason"])
        self.refusals = refusals


def handle(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Answer an exception that a view raised. Receives what DRF's EXCEPTION_HANDLER does."""
    match error:
        case Unprocessable():
            return Response(error.refusals, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        case AllocationRefused():
            body = [refusal(error, policy_uuid=context["kwargs"].get("policy_uuid"))]
            return Response(body, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        case ContentUnavailable():
            return _object(
                status.HTTP_503_SERVICE_UNAVAILABLE,
                error.reason,
                "The catalog does not answer, and this content was never seen before. Nothing was held.",
                "Try again in a minute.",
            )
        case RedemptionRefused() | DeclineRefused():
            body = [_learners_refusal(error, context)]
            return Response(body, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        case WebhookRefused():
            code = 404 if error.reason == "webhooks_not_enabled" else 401
            return _object(code, error.reason, error.sentence, error.next_step)
        case BadAddresses() | TooManyAddresses() | ContentFiltersUnavailable():
            return _malformed(error)
        case RequestDataTooBig():
            return _of_the_framework(BodyTooLarge(), context)
        case _:
            return _of_the_framework(error, context)


def refusal(refused: AllocationRefused, *, policy_uuid: UUID | str | None) -> dict[str, Any]:
    """Return an allocation's refusal as clients read it, with its figures beside the reason."""
    return {
        "reason": refused.reason,
        "user_message": refused.sentence,
        "next_step": refused.next_step,
        "metadata": {"enterprise_administrators": []},
        "policy_uuids": [str(policy_uuid)] if policy_uuid else [],
        **{name: _plain(value) for name, value in refused.figures.items()},
    }


def _learners_refusal(
    refused: RedemptionRefused | DeclineRefused, context: Mapping[str, Any]
) -> dict[str, Any]:
    policy_uuid = context["kwargs"].get("policy_uuid")
    return {
        "reason": refused.reason,
        "user_message": refused.sentence,
        "next_step": refused.next_step,
        "metadata": {"enterprise_administrators": []},
        "policy_uuids": [str(policy_uuid)] if policy_uuid else [],
    }


def _malformed(error: BadAddresses | TooManyAddresses | ContentFiltersUnavailable) -> Response:
    match error:
        case BadAddresses():
            named = {str(position): [problem] for position, problem in error.errors.items()}
            return _object(400, error.reason, str(error), "Correct the addresses.", learner_emails=named)
        case TooManyAddresses():
            return _object(400, error.reason, str(error), "Send them in several requests.", count=error.count)
        case ContentFiltersUnavailable():
            next_step = "Leave them out; filter by content_key, learner or state."
            return _object(400, error.reason, str(error), next_step, parameters=error.parameters)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _object(code: int, reason: str, detail: str, next_step: str, **more: object) -> Response:
    return Response({"reason": reason, "detail": detail, "next_step": next_step, **more}, status=code)


def _of_the_framework(error: Exception, context: Mapping[str, Any]) -> Response | None:
    response = exception_handler(error, dict(context))
    if response is None:
        return None  # a fault of ours: logged, and answered as one
    reason, next_step = _NEXT_STEPS.get(response.status_code, ("refused", "See the API description."))
    said = response.data
    fields = said if isinstance(said, dict) and "detail" not in said else {}
    detail = said.get("detail") if isinstance(said, dict) else None
    if isinstance(error, Http404 | PermissionDenied) and error.args:
        detail = str(error.args[0])
    body = {**fields, "reason": reason, "detail": detail or _first(said), "next_step": next_step}
    response.data = body
    return response


def _first(said: Any) -> str:
    """Return the first sentence in DRF's nested errors, with the field that it belongs to."""
    path: list[str] = []
    while isinstance(said, dict | list):
        if isinstance(said, dict):
            key, said = next(iter(said.items()), ("", ""))
            path.append(str(key))
        else:
            said = next((one for one in said if one), "")
    where = ".".join(key for key in path if key != "non_field_errors")
    return f"{where}: {said}" if where else str(said)
