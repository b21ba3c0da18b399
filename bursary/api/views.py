"""The base of the API's views: what a request may ask, and a POST that is done once (decision 0021)."""

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
"""The header of an answer that was given before."""
LONGEST_KEY = 255  # characters
LARGEST_WHOLE = 64 * 1024  # bytes of an answer that is kept as it is
_NUL = b"\\u0000"


REUSED = {
    "reason": "idempotency_key_reused",
    "user_message": "This Idempotency-Key was sent with another request before.",
    "next_step": "Send it with a key of its own, or send the first request as it was.",
}


class InProgress(APIException):
    """The same request is being done at this moment, or its process was killed."""

    status_code = status.HTTP_409_CONFLICT
    default_detail = "A request with this Idempotency-Key is being done."
    wait = 2
    """The seconds of `Retry-After`."""


class AnsweredBefore(Exception):
    """The request was answered before, and is not done again."""

    def __init__(self, request: IdempotentRequest) -> None:
        super().__init__("The request was answered before.")
        self.request = request


class APIView(views.APIView):
    """DRF's view, which each view extends. An `Idempotency-Key` belongs to the caller and the URL.

    What the attributes name is checked here and described by `bursary.api.schema`.
    """

    query: Sequence[OpenApiParameter | type[serializers.Serializer[Any]]] = ()
    """The parameters of the query string, besides those of filters, searches and pages."""
    passes_over_empty = True
    """Whether a filter without a value is as if it was left out."""
    takes_any_parameter = False
    """Whether parameters that the view does not know make no difference, because clients send them."""
    reasons: Mapping[int, Sequence[str]] = {}
    """By status, the reasons of its refusals, besides those of every view."""

    _claimed: IdempotentRequest | None = None

    @classmethod
    @cache
    def parameters(cls) -> frozenset[str]:
        """Return the names of the parameters that the view knows in its query string."""
        known = {"format"}  # of the answer
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
        """Return what is kept of an answer above `LARGEST_WHOLE`; None: nothing, it may be done again."""
        return body

    def restored(self, body: Any) -> Any:
        """Return the answer of which `abridged` has returned this."""
        return body

    def check_throttles(self, request: Request) -> None:
        """Count the request. With a key it may be a repetition, which only reads; `initial` counts others."""
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
        identity = idempotency.digest(identity_of(request), request.path, key)
        asked = idempotency.digest(request.META.get("QUERY_STRING", ""), request.body.decode("latin-1"))
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
        """Return the response to an error. One of Bursary is raised again; the request may be repeated."""
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
        """Return the response to be sent, remembered for the next time that the request comes."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._claimed:
            self._keep(self._claimed, response)
        return response

    def _keep(self, claimed: IdempotentRequest, response: Response) -> None:
        rendered = FastJSONRenderer().render(response.data) or b"null"
        body, abridged = json.loads(rendered), len(rendered) > LARGEST_WHOLE
        if abridged:  # a refusal has changed nothing, and may be made again
            body = self.abridged(body) if response.status_code < 400 else None
        # No column of PostgreSQL takes a NUL; only what is refused, or changes nothing, repeats one.
        if response.status_code >= 500 or body is None or _NUL in rendered:
            return idempotency.give_up(claimed)
        idempotency.finish(
            claimed, status=response.status_code, body=body, abridged=abridged, now=timezone.now()
        )
        return None

    def _give_up(self, claimed: IdempotentRequest) -> None:
        """Let the request be done again at once; where the database is in trouble, when the lease ends."""
        try:
            idempotency.give_up(claimed)
        except Exception as error:  # noqa: BLE001  # the error that is being handled is the one to answer
            logs.log_failure("A request's Idempotency-Key is free after its lease", error, log=logger)


def first_sentence(view: type) -> str:
    """Return what a view does: its docstring's first sentence, without the full stop."""
    return " ".join((view.__doc__ or "").split()).partition(". ")[0].rstrip(".")


def _key_of(request: Request) -> str | None:
    """Return the request's `Idempotency-Key`; None without one, where it would not be done once."""
    counts = request.method == "POST" and isinstance(request.user, User)
    return request.headers.get(HEADER) if counts else None
