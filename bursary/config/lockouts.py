"""The response to a password during a lock, on every page with a password."""

import math
from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from bursary.access.sign_in_limits import locked_until

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def too_many_attempts(get_response: GetResponse) -> GetResponse:
    """Return the middleware that answers 429, with the end of the lock and an alternative."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        until = locked_until(request)
        if until is None:
            return response
        seconds = max(1, math.ceil((until - timezone.now()).total_seconds()))
        context = {"minutes": math.ceil(seconds / 60)}
        page = render(request, "errors/too_many_attempts.html", context, status=HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["Retry-After"] = str(seconds)
        return page

    return respond
