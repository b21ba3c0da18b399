"""The base of the API's views: checks of parameters, and idempotent POSTs (decision 0021)."""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers, status, views
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from bursary.access import idempotency
from bursary.access.models import IdempotentRequest, User
from bursary.api import throttling
from bursary.api.authentication import caller, identity_of
from bursary.api.refusals import UnknownParameters, Unprocessable
from bursary.api.rendering import FastJSONRenderer
from bursary.lib import logs

logger = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
"""The header of a replayed response."""
LONGEST_KEY = 255  # characters
LARGEST_WHOLE = 64 * 1024  # bytes; a larger response is abridged before it is kept
_NUL = b"\\u0000"


REUSED = {
    "reason": "idempotency_key_reused",
    "user_message": "This Idempotency-Key was sent with another request before.",
    "next_step": "Send it with a key of its own, or send the first request as it was.",
}


class InProgress(APIException):
    """Another request with the same key is in progress, or its process was killed."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = "A request with this Idempotency-Key is being done."
    wait = 2
    """The seconds of `Retry-After`."""


class AnsweredBefore(Exception):
    """The request was answered before, and is not executed again."""

    def __init__(self, request: IdempotentRequest) -> None:
        super().__init__("The request was answered before.")
        self.request = request


class APIView(views.APIView):
    """The base class of all views. An `Idempotency-Key` belongs to the caller and the URL.

    Parameters are checked by the class's attributes, and `bursary.api.schema` describes them.
    """

    query: Sequence[OpenApiParameter | type[serializers.Serializer[Any]]] = ()
    """The parameters of the query string, besides those of filters, searches and pages."""
    passes_over_empty = True
    """Whether a filter without a value is ignored."""
    takes_any_parameter = False
    """Whether unknown parameters are ignored, because clients send them."""
    reasons: Mapping[int, Sequence[str]] = {}
    """By status, the view's own reasons to refuse a request, besides those of every view."""

    _claimed: IdempotentRequest | None = None

    @classmethod
    @cache
    def parameters(cls) -> frozenset[str]:
        """Return the names of the query parameters that the view supports."""
        known = {"format"}  # the format of the response
        for one in cls.query:
            known |= {one.name} if isinstance(one, OpenApiParameter) else {*one().fields}
        if filters := getattr(cls, "filterset_class", None):
            known |= {*filters.base_filters}
        if getattr(cls, "search_fields", None):
            known.add("search")
        if pages := getattr(cls, "pagination_class", None):
            known |= {*pages.query().fields}
        return frozenset(known)

    def abridged(self, body: Any) -> Any:
        """Return the part to keep of a response above `LARGEST_WHOLE`; None if it may be executed again."""
        return body

    def restored(self, body: Any) -> Any:
        """Return the response from what `abridged` has returned."""
        return body

    def check_throttles(self, request: Request) -> None:
        """Count the request; with a key, as one that only reads, until `initial` knows that it is new."""
        if _key_of(request) is None:
            super().check_throttles(request)
        else:
            throttling.count_get(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Admit the request.

        Raises AnsweredBefore, InProgress, TooManyRequests, UnknownParameters, Unprocessable,
        ValidationError.
        """
        super().initial(request, *args, **kwargs)
        sent = {*request.query_params}
        if sent and not self.takes_any_parameter and (unknown := sorted(sent - self.parameters())):
            raise UnknownParameters(unknown)
        key = _key_of(request)
        if key is None:
            return
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            problem = f"A key has 1 to {LONGEST_KEY} characters of ASCII, without control characters."
            raise serializers.ValidationError({HEADER: [problem]})
        identity = idempotency.digest_of_texts(identity_of(request), request.path, key)
        asked = idempotency.digest_of_texts(
            request.META.get("QUERY_STRING", ""), request.body.decode("latin-1")
        )
        try:
            found = idempotency.begin(
                caller(request),
                identity=identity,
                fingerprint=asked,
                admit=lambda: throttling.count_post(request),
                now=timezone.now(),
            )
        except idempotency.RequestRunning as running:
            raise InProgress from running
        except idempotency.KeyReused as reused:
            raise Unprocessable([REUSED]) from reused
        if found.status is not None:
            raise AnsweredBefore(found)
        self._claimed = found

    def handle_exception(self, error: Exception) -> Response:
        """Return the response to an error. An internal error is raised again, after freeing the key."""
        if isinstance(error, AnsweredBefore):
            body = error.request.body
            restored = self.restored(body) if error.request.abridged else body
            return Response(restored, status=error.request.status, headers={REPLAYED: "true"})
        try:
            return super().handle_exception(error)
        except Exception:
            if self._claimed:
                self._give_up(self._claimed)
            raise

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Return the response, and keep it for a repetition of the request."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._claimed:
            self._keep(self._claimed, response)
        return response

    def _keep(self, claimed: IdempotentRequest, response: Response) -> None:
        rendered = FastJSONRenderer().render(response.data) or b"null"
        body, abridged = json.loads(rendered), len(rendered) > LARGEST_WHOLE
        if abridged:  # a refusal is not kept: it has changed nothing, and the request may be repeated
            body = self.abridged(body) if response.status_code < 400 else None
        # PostgreSQL cannot store a NUL; only a response to a request without effect contains one.
        if response.status_code >= 500 or body is None or _NUL in rendered:
            return idempotency.give_up(claimed)
        idempotency.finish(
            claimed, status=response.status_code, body=body, abridged=abridged, now=timezone.now()
        )
        return None

    def _give_up(self, claimed: IdempotentRequest) -> None:
        """Free the key, so that the request may be repeated at once. If that fails, its lease ends later."""
        try:
            idempotency.give_up(claimed)
        except Exception as error:  # noqa: BLE001  # the error that is being handled is the one to answer
            logs.log_failure("A request's Idempotency-Key is free after its lease", error, log=logger)


def first_sentence(view: type) -> str:
    """Return the first sentence of a view's docstring, without the full stop."""
    return " ".join((view.__doc__ or "").split()).partition(". ")[0].rstrip(".")


def _key_of(request: Request) -> str | None:
    """Return the request's `Idempotency-Key`; None if it has none, or is not a POST of a user."""
    counts = request.method == "POST" and isinstance(request.user, User)
    return request.headers.get(HEADER) if counts else None
