"""Refusals as responses: a stable reason, a sentence for people, and the next step.

A valid request that a rule refuses is answered 422 with a JSON array; clients read the first element. Every
other refusal is a JSON object. A refused request changes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from django.utils.translation import ngettext
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from bursary.access.permissions import ScopeTooNarrow
from bursary.access.signing_keys import SigningKeysUnavailable
from bursary.api.authentication import KeysNotReadable, refused_token
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.declining import DeclineRefused
from bursary.assignments.listing import ContentFiltersUnavailable
from bursary.assignments.matching import BadAddresses, TooManyAddresses
from bursary.assignments.redemption import RedemptionRefused
from bursary.events.webhook import WebhookRefused
from bursary.replica.reads import ContentUnavailable

_NEXT_STEPS: Mapping[int, tuple[str, str]] = {
    status.HTTP_400_BAD_REQUEST: ("invalid_request", "Correct the named fields and send the request again."),
    status.HTTP_401_UNAUTHORIZED: ("not_signed_in", "Sign in, or send Authorization: Bearer <API key>."),
    status.HTTP_403_FORBIDDEN: ("not_permitted", "Ask an administrator of this organisation."),
    status.HTTP_404_NOT_FOUND: (
        "not_found",
        "Check the URL and the identifiers in it, and whether you have a role in their organisation.",
    ),
    status.HTTP_405_METHOD_NOT_ALLOWED: ("method_not_allowed", "See /api/v1/docs/ for the methods."),
    status.HTTP_406_NOT_ACCEPTABLE: ("not_acceptable", "Accept application/json."),
    status.HTTP_409_CONFLICT: (
        "request_in_progress",
        "Send the same request again after Retry-After: it is then answered as the first one was.",
    ),
    status.HTTP_411_LENGTH_REQUIRED: (
        "length_required",
        "Send the whole body with its Content-Length, without Transfer-Encoding.",
    ),
    status.HTTP_413_REQUEST_ENTITY_TOO_LARGE: ("body_too_large", "Send a smaller body."),
    status.HTTP_415_UNSUPPORTED_MEDIA_TYPE: ("unsupported_media_type", "Send application/json."),
    status.HTTP_429_TOO_MANY_REQUESTS: (
        "too_many_requests",
        "Send the same request again after Retry-After; then send fewer a minute.",
    ),
}
_UNNAMED = {"non_field_errors"}
"""The key of errors that are of no field."""
_CORRECT_DETAIL = "Correct what the detail says and send the request again."
_SEND_JSON = "Send the whole body as JSON, in UTF-8."
_AFTER_CSRF = (
    "Reload the page, or send the cookie csrftoken as the header X-CSRFToken; an API key needs neither."
)

CATALOG_PAUSE = 60
"""Seconds until a retry is worthwhile after the catalog did not answer."""
_CORRECT = "Correct the addresses."
_WIDER_KEY = "Make a key with a wider scope: on the page /account/, or with bursary issue_key."


class BodyTooLarge(exceptions.APIException):
    """The body is larger than the limit."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes."


class LengthRequired(exceptions.APIException):
    """The request has a body and no `Content-Length`."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "The body is sent in chunks, without a Content-Length."


class SlashMissing(Http404):
    """The API has this URL with a slash at its end."""

    next_step = "Send the request to the address with its slash."

    def __init__(self) -> None:
        super().__init__("The API has this URL with a slash at its end; /api/v1/docs/ lists all.")


class CatalogNeeded(Exception):
    """The caller's catalogs are served this content with different runs, and the request names no catalog."""

    reason = "catalog_needed"

    def __init__(self, catalogs: Sequence[UUID]) -> None:
        super().__init__("Your catalogs are served this content differently.")
        self.catalogs = catalogs


class CountChanged(Exception):
    """The number of assignments that match the filter is not the confirmed one. Nothing was changed."""

    reason = "count_changed"

    def __init__(self, *, confirmed: int, count: int) -> None:
        sentence = ngettext(
            "The filter finds %(count)s assignment now, instead of %(confirmed)s.",
            "The filter finds %(count)s assignments now, instead of %(confirmed)s.",
            count,
        )
        super().__init__(sentence % {"count": count, "confirmed": confirmed})
        self.count = count


class TooManyFound(Exception):
    """More assignments match the filter than one request may change. Nothing was changed."""

    reason = "too_many_found"

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"The filter finds more than {limit:,} assignments.")


class PageBesideCursor(Exception):
    """The query string names a page both by number and by cursor."""

    reason = "page_beside_cursor"

    def __init__(self) -> None:
        super().__init__("The query string has both a cursor and a page.")
        self.parameters = ["cursor", "page"]


class UnknownParameters(Exception):
    """The query string has parameters that the URL does not support."""

    reason = "unknown_parameter"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"There is no such parameter here: {', '.join(names)}.")
        self.parameters = names


class Unprocessable(Exception):
    """A rule refuses a valid request; `refusals` is the array to be sent."""

    def __init__(self, refusals: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(refusals[0]["reason"])
        self.refusals = refusals


def handle(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Return the response for an exception of a view. DRF's `EXCEPTION_HANDLER`."""
    match error:
        case Unprocessable():
            return Response(error.refusals, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        case AllocationRefused():
            body = [refusal(error, policy_uuid=context["kwargs"].get("policy_uuid"))]
            return Response(body, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        case ContentUnavailable():
            detail = "The catalog does not answer, and this content is not known yet. Nothing is changed."
            response = _object(503, error.reason, detail, "Send it again after Retry-After.")
            response.headers["Retry-After"] = str(CATALOG_PAUSE)
            return response
        case RedemptionRefused() | DeclineRefused():
            body = [_array_element(error, context["kwargs"].get("policy_uuid"))]
            return Response(body, status=status.HTTP_422_UNPROCESSABLE_ENTITY)
        case WebhookRefused():
            code = 404 if error.reason == "webhooks_not_enabled" else 401
            return _object(code, error.reason, error.sentence, error.next_step)
        case (
            BadAddresses()
            | TooManyAddresses()
            | ContentFiltersUnavailable()
            | CatalogNeeded()
            | CountChanged()
            | TooManyFound()
            | ScopeTooNarrow()
            | PageBesideCursor()
            | UnknownParameters()
        ):
            return _malformed(error)
        case RequestDataTooBig():
            return _from_framework(BodyTooLarge(), context)
        case _:
            return _from_framework(error, context)


def refusal(refused: AllocationRefused, *, policy_uuid: UUID | str | None) -> dict[str, Any]:
    """Return an allocation's refusal as an array element, with its cents, dates or keys."""
    return _array_element(refused, policy_uuid)


def as_refusal(bad: BadAddresses) -> AllocationRefused:
    """Return bad addresses as one refusal, for a preview, which lists all refusals."""
    return AllocationRefused(bad.reason, str(bad), _CORRECT, {"learner_emails": _named(bad)})


def as_reason(refused: AllocationRefused | RedemptionRefused | DeclineRefused) -> dict[str, Any]:
    """Return a refusal in the form that clients read, with its cents, dates or keys."""
    details = getattr(refused, "details", {})
    return {
        "reason": refused.reason,
        "user_message": refused.sentence,
        "next_step": refused.next_step,
        "metadata": {"enterprise_administrators": []},
        **{n: value.isoformat() if isinstance(value, datetime) else value for n, value in details.items()},
    }


def _array_element(
    refused: AllocationRefused | RedemptionRefused | DeclineRefused, policy_uuid: UUID | str | None
) -> dict[str, Any]:
    return {**as_reason(refused), "policy_uuids": [str(policy_uuid)] if policy_uuid else []}


def _named(bad: BadAddresses) -> dict[str, list[str]]:
    return {str(position): errors for position, errors in bad.by_item().items()}


_LEAVE_OUT = {
    ContentFiltersUnavailable.reason: "Leave them out; filter by content_key, learner or state.",
    PageBesideCursor.reason: "Leave one of them out.",
    UnknownParameters.reason: "Leave them out, or correct their names: /api/v1/docs/ lists all.",
}


def _malformed(
    error: BadAddresses
    | TooManyAddresses
    | ContentFiltersUnavailable
    | CatalogNeeded
    | CountChanged
    | TooManyFound
    | ScopeTooNarrow
    | PageBesideCursor
    | UnknownParameters,
) -> Response:
    match error:
        case CountChanged():
            next_step = "Reload the list and confirm again."
            return _object(409, error.reason, str(error), next_step, count=error.count)
        case ScopeTooNarrow():
            return _object(403, error.reason, str(error), _WIDER_KEY)
        case TooManyFound():
            return _object(400, error.reason, str(error), "Filter for fewer, in several requests.")
        case BadAddresses():
            return _object(400, error.reason, str(error), _CORRECT, learner_emails=_named(error))
        case TooManyAddresses():
            return _object(400, error.reason, str(error), "Send them in several requests.", count=error.count)
        case ContentFiltersUnavailable() | PageBesideCursor() | UnknownParameters():
            next_step = _LEAVE_OUT[error.reason]
            return _object(400, error.reason, str(error), next_step, parameters=error.parameters)
        case CatalogNeeded():
            next_step = "Name one of these catalogs: ?catalog=…"
            return _object(400, error.reason, str(error), next_step, catalogs=[*map(str, error.catalogs)])


_SEND_AGAIN = "Send the same request again after Retry-After: what is done is not done twice."
_REMIND_AGAIN = (
    "Send the same request again after Retry-After, within ten minutes: no second mail is sent then. Later, "
    "look at recent_action first: the learner may have had one."
)
_MAILS = ("/remind/", "/remind-all/", "/nudge/")
"""The ends of paths at which a repeated request sends mails again after some time."""


def of_status(code: HTTPStatus) -> dict[str, str]:
    """Return the body of a refusal that is not made by a view of the API."""
    if code == HTTPStatus.INTERNAL_SERVER_ERROR:
        reason, next_step = "internal_error", "Try again in a minute; then ask the operator, with the time."
    else:
        reason, next_step = _NEXT_STEPS[code]
    return {"reason": reason, "detail": f"{code.phrase}.", "next_step": next_step}


def of_outage(path: str, *, may_be_committed: bool) -> dict[str, str]:
    """Return the body for a request to this path during an outage of the database or the disk."""
    next_step = _REMIND_AGAIN if path.endswith(_MAILS) else _SEND_AGAIN
    if may_be_committed:
        return {
            "reason": "outcome_unknown",
            "detail": "The database broke off while it stored the result. It is stored, or nothing is.",
            "next_step": next_step,
        }
    return {
        "reason": "temporarily_unavailable",
        "detail": "The database or its disk is in trouble. The request was not finished.",
        "next_step": next_step,
    }


def _object(code: int, reason: str, detail: str, next_step: str, **more: object) -> Response:
    return Response({"reason": reason, "detail": detail, "next_step": next_step, **more}, status=code)


def _from_framework(error: Exception, context: Mapping[str, Any]) -> Response | None:
    response = exception_handler(error, dict(context))
    if response is None:
        return None  # an internal error: Django logs it and responds with 500
    reason, next_step = _NEXT_STEPS.get(response.status_code, ("refused", "See /api/v1/docs/."))
    refused = refused_token(error, context.get("request"))
    if refused:
        reason, next_step, response.data = refused.reason, refused.next_step, {"detail": refused.sentence}
    if isinstance(error, SlashMissing):
        next_step = error.next_step
    if isinstance(error, KeysNotReadable):
        reason, next_step = SigningKeysUnavailable.reason, "Send it again after Retry-After."
    if isinstance(error, exceptions.PermissionDenied) and str(error.detail).startswith("CSRF Failed"):
        next_step = _AFTER_CSRF
    data = response.data
    fields = data if isinstance(data, dict) and "detail" not in data else {}
    if isinstance(error, exceptions.ParseError | exceptions.ValidationError) and fields.keys() <= _UNNAMED:
        next_step = _SEND_JSON if isinstance(error, exceptions.ParseError) else _CORRECT_DETAIL
    detail = data.get("detail") if isinstance(data, dict) else None
    if isinstance(error, Http404 | PermissionDenied) and error.args:
        detail = str(error.args[0])
    own = {"reason": reason, "detail": detail or _first(data), "next_step": next_step}
    hidden = {name: errors for name, errors in fields.items() if name in own}
    response.data = {**fields, **own, **({"fields": hidden} if hidden else {})}
    return response


def _first(errors: Any) -> str:
    """Return the first sentence in DRF's nested errors, after the path of its field."""
    path: list[str] = []
    while isinstance(errors, dict | list):
        if isinstance(errors, dict):
            key, errors = next(iter(errors.items()), ("", ""))
            path.append(str(key))
        else:
            errors = next((one for one in errors if one), "")
    where = ".".join(key for key in path if key != "non_field_errors")
    return f"{where}: {errors}" if where else str(errors)
