"""The OpenAPI schema, made from the attributes of the views.

The parameters come from `query`, `filterset_class` and `pagination_class`, the refusals from `reasons` and
`authentication_classes`, the summary and the description from the docstring.
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from django_filters import BaseCSVFilter, OrderingFilter
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter
from rest_framework.serializers import CharField, RegexField

from bursary.access.permissions import ScopeTooNarrow
from bursary.access.signing_keys import SigningKeysUnavailable
from bursary.api import refusals
from bursary.api.authentication import TOKEN_REASONS
from bursary.api.inputs import MOMENT
from bursary.api.views import HEADER, LONGEST_KEY, REPLAYED, REUSED, APIView, first_sentence
from bursary.assignments.filters import (
    LARGEST_NUMBER,
    LONGEST_TEXT,
    MomentFilter,
    NumberFilter,
    TextFilter,
)

Shape = dict[str, Any]
Reasons = Mapping[int, Sequence[str]]

OF_EVERY: Reasons = {
    400: ("invalid_request", refusals.UnknownParameters.reason),
    404: ("not_found",),
    406: ("not_acceptable",),
    500: ("internal_error",),
    503: ("temporarily_unavailable", "outcome_unknown"),
}
"""By status, the reasons of every operation."""
OF_CALLERS: Reasons = {
    401: ("not_signed_in", *TOKEN_REASONS),
    403: ("not_permitted", ScopeTooNarrow.reason),
    429: ("too_many_requests",),
    503: (SigningKeysUnavailable.reason,),
}
"""The reasons of each operation that needs a sign-in."""
OF_POSTS: Reasons = {413: ("body_too_large",), 415: ("unsupported_media_type",)}
OF_KEYS: Reasons = {409: ("request_in_progress",), 422: ("idempotency_key_reused",)}
"""The reasons of each POST that accepts an `Idempotency-Key`."""

TAGS = {
    "root": "The API's URLs, and what you may do",
    "subsidy-access-policies": "Budgets and their money",
    "policy-allocation": "Assign content to learners, and preview it",
    "allocation-batches": "The results of requests to assign",
    "assignment-configurations": "The assignments of a budget: read, cancel, remind, repair and extend them; "
    "of a learner, decline and acknowledge them",
    "policy-redemption": "A learner's own assignments: list and accept them",
    "content-metadata": "Courses and runs, their changes, and what these mean for assignments",
    "content-events": "Events that other services report",
    "mail-events": "Reports of mail providers about mails",
    "subsidies": "The transactions of an account, with refunds",
    "bffs": "Pages of the learner portal, each in one answer",
    "learner-credit-requests": "Answers that are always empty, for clients that expect them",
    "license-requests": "Answers that are always empty, for clients that expect them",
    "coupon-code-requests": "Answers that are always empty, for clients that expect them",
    "customer-configurations": "Answers that are always the same, for clients that expect them",
    "admin-view": "Answers that are always empty, for clients that expect them",
}

_OF_FILTERS: Mapping[type, Shape] = {
    MomentFilter: MOMENT,
    NumberFilter: {"type": "integer", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER},
    TextFilter: {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT},
}
_OF_ORDERINGS = "The keys to sort by, separated by commas; a `-` before a key reverses its order"
_KEY = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": r"^[\x20-\x7e]+$"},
    OpenApiParameter.HEADER,
    description="Your name for this request: a repeated request with the same name is answered "
    "as before and not done twice",
)
NOT_BLANK = r"[^\s\x1c-\x1f\x85]"
"""Trimmed text. Python also trims U+001C to U+001F and U+0085, which others do not call white space."""
_TEXT: Shape = {"type": "string"}
_WAIT = "The seconds to wait before the request is repeated"
_HEADERS: Mapping[int, tuple[str, Shape, str]] = {
    401: ("WWW-Authenticate", _TEXT, "The scheme by which to sign in"),
    409: ("Retry-After", {"type": "integer"}, f"{_WAIT}; with request_in_progress"),
    429: ("Retry-After", {"type": "integer"}, _WAIT),
    503: ("Retry-After", {"type": "integer"}, _WAIT),
}


class Schema(AutoSchema):
    """Describes an operation by its view."""

    @property
    def api_view(self) -> APIView:
        """The view, typed as one of this API's."""
        return cast(APIView, self.view)

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters other than those of filters."""
        pages = getattr(self.view, "pagination_class", None)
        of_pages = [pages.query] if pages else []
        return [*of_pages, *self.api_view.query, *([_KEY] if self._is_done_once() else [])]

    def get_filter_backends(self) -> list[Any]:
        """Return the view's filter backends, even if the view is not a list."""
        return list(getattr(self.view, "filter_backends", []))

    def get_summary(self) -> str:
        """Return the first sentence of the view's docstring."""
        return first_sentence(type(self.view))

    def _process_override_parameters(self, direction: Any = "request") -> dict[Any, Shape]:
        found: dict[Any, Shape] = super()._process_override_parameters(direction)  # type: ignore[no-untyped-call]  # has none
        for (_name, where), parameter in found.items():
            if where == "query" and not parameter.get("required"):
                parameter["allowEmptyValue"] = True  # an empty parameter is ignored
        return found

    def _get_filter_parameters(self) -> list[Shape]:
        """Return the filters' parameters, described by the filters' own fields, not by their columns."""
        found: list[Shape] = super()._get_filter_parameters()  # type: ignore[no-untyped-call]  # has none
        known = getattr(getattr(self.view, "filterset_class", None), "base_filters", {})
        for parameter in found:
            one = known.get(parameter["name"])
            shape = next((shape for kind, shape in _OF_FILTERS.items() if isinstance(one, kind)), None)
            if shape:
                many = isinstance(one, BaseCSVFilter)
                parameter["schema"] = {"type": "array", "items": shape, "minItems": 1} if many else shape
            if isinstance(one, OrderingFilter):
                parameter["description"] = _OF_ORDERINGS
            elif isinstance(one, BaseCSVFilter):
                parameter["description"] = f"{one.label or 'Any of these values'}, separated by commas"
            parameter["allowEmptyValue"] = self.api_view.passes_over_empty
        return found

    def _get_serializer_field_meta(self, field: Any, direction: Any) -> Shape:
        meta: Shape = super()._get_serializer_field_meta(field, direction)  # type: ignore[no-untyped-call]  # has none
        if direction == "request" and isinstance(field, CharField) and not field.allow_blank:
            meta["minLength"] = 1
            if field.trim_whitespace and not isinstance(field, RegexField):
                meta["pattern"] = NOT_BLANK
        return meta

    def _map_serializer_field(self, field: Any, direction: Any, bypass_extensions: bool = False) -> Shape:
        mapped: Shape = super()._map_serializer_field(  # type: ignore[no-untyped-call]  # has none
            field, direction, bypass_extensions
        )
        if not getattr(field, "allow_empty", True) and mapped.get("type") == "array":
            mapped.setdefault("minItems", 1)
        return mapped

    def _get_pagination_parameters(self) -> list[Shape]:
        return []  # `get_override_parameters` has them, also for views that make pages themselves

    def _map_serializer(self, serializer: Any, direction: Any, bypass_extensions: bool = False) -> Shape:
        mapped: Shape = super()._map_serializer(  # type: ignore[no-untyped-call]  # has none
            serializer, direction, bypass_extensions
        )
        if getattr(serializer, "open_ended", False):
            mapped["additionalProperties"] = {}
        return mapped

    def _get_response_bodies(self, direction: Any = "response") -> Shape:
        answers: Shape = super()._get_response_bodies(direction)
        for status, answer in answers.items():
            answer["description"] = answer.get("description") or HTTPStatus(int(status)).phrase
            answer.setdefault("headers", {}).update(self._replayed(int(status)))
        return answers | {str(status): self._refusal(status, found) for status, found in self._refusals()}

    def _is_done_once(self) -> bool:
        return self.method == "POST" and bool(self.api_view.authentication_classes)

    def _refusals(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each status with all its reasons."""
        applying = [OF_EVERY]
        if self.api_view.authentication_classes:
            applying.append(OF_CALLERS)
        if self.method == "POST":
            applying.append(OF_POSTS)
        if self._is_done_once():
            applying.append(OF_KEYS)
        applying.append(self.api_view.reasons)
        left_out = {status for status, found in self.api_view.reasons.items() if not found}
        for status in sorted({status for one in applying for status in one} - left_out):
            yield status, list(dict.fromkeys(reason for one in applying for reason in one.get(status, ())))

    def _refusal(self, status: int, found: list[str]) -> Shape:
        tables = (OF_EVERY, OF_CALLERS, OF_POSTS, OF_KEYS)
        common = [reason for one in tables for reason in one.get(status, ())]
        own = not set(found) <= set(common)
        name = f"{type(self.view).__name__ if own else ''}Refusal{status}"
        shape = _shape(status, found if own else common)
        component = ResolvedComponent(  # type: ignore[no-untyped-call]  # has none
            name, ResolvedComponent.SCHEMA, shape, name
        )
        self.registry.register_on_missing(component)
        answer: Shape = {
            "description": f"{HTTPStatus(status).phrase}: {', '.join(found)}",
            "content": {"application/json": {"schema": component.ref} | self._example(status)},
        }
        answer["headers"] = self._replayed(status)
        if status in _HEADERS:
            header, kind, description = _HEADERS[status]
            answer["headers"][header] = {"schema": kind, "description": description}
        return answer

    def _example(self, status: int) -> Shape:
        """Return an example that suits each operation with this status, if there is one."""
        match status:
            case HTTPStatus.UNPROCESSABLE_ENTITY:
                return {"example": [REUSED]} if self._is_done_once() else {}
            case HTTPStatus.SERVICE_UNAVAILABLE:
                return {"example": refusals.of_outage(self.path, may_be_committed=False)}
            case HTTPStatus.UNAUTHORIZED if not self.api_view.authentication_classes:
                return {}
        return {"example": refusals.of_status(HTTPStatus(status))}

    def _replayed(self, status: int) -> Shape:
        """Return the header of a replayed response; responses with 5xx are not kept."""
        if not self._is_done_once() or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return {}
        return {
            REPLAYED: {
                "schema": {"const": "true"},
                "description": "Present where the request was answered before: this is the earlier answer",
            }
        }


def _shape(status: int, found: Sequence[str]) -> Shape:
    """Return the shape of a refusal for one of these reasons; for 422, an array of refusals."""
    says = "user_message" if status == HTTPStatus.UNPROCESSABLE_ENTITY else "detail"
    shape: Shape = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "enum": [*found]},
            says: _TEXT | {"description": "The reason in a sentence for people"},
            "next_step": _TEXT | {"description": "What to do next, in a sentence for people"},
        },
        "required": ["reason", says, "next_step"],
        "additionalProperties": {},
        "description": "A refusal. The figures behind it, or the fields that are wrong, stand beside "
        "the reason",
    }
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return {"type": "array", "items": shape, "minItems": 1}
    return shape


def with_tags(result: Shape, **_generator: Any) -> Shape:
    """Return the schema with descriptions of its tags, without marks for tools. A postprocessing hook."""
    used = {tag for path in result["paths"].values() for one in path.values() for tag in one["tags"]}
    unmarked: Shape = _unmarked(result)
    return unmarked | {"tags": [{"name": tag, "description": TAGS[tag]} for tag in sorted(used)]}


def _unmarked(described: Any) -> Any:
    if isinstance(described, dict):
        return {name: _unmarked(one) for name, one in described.items() if name != "x-spec-enum-id"}
    return [_unmarked(one) for one in described] if isinstance(described, list) else described
