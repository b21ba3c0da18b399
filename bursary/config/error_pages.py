"""Responses to errors outside of views: pages in the common style, and JSON below `/api/`."""

import sys
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.log import log_response
from django.views.decorators.cache import never_cache

from bursary.api import refusals
from bursary.dashboard.headers import page
from bursary.lib import database_errors, logs

RETRY_AFTER = 10  # seconds, about as long as a database restarts


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 400, for a request that browsers do not send from these pages."""
    return _error(request, HTTPStatus.BAD_REQUEST, "bad_request")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 403, for a page that the account may not see."""
    return _error(request, HTTPStatus.FORBIDDEN, "permission_denied")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Answer 403, for a form without its CSRF token or with an old one; to htmx, with one sentence."""
    if request.headers.get("HX-Request") and not _is_of_api(request):
        return page(render)(request, "dashboard/parts/unsent.html", status=HTTPStatus.FORBIDDEN)
    return _error(request, HTTPStatus.FORBIDDEN, "csrf_failure")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404, for a page that does not exist or that the account may not see."""
    return _error(request, HTTPStatus.NOT_FOUND, "not_found")


@never_cache
def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500; or 503, with one line in the log, if the database or the disk failed."""
    error = sys.exception()  # Django calls this while it handles the error
    if error is None or not database_errors.is_outage(error):
        body = refusals.of_status(HTTPStatus.INTERNAL_SERVER_ERROR)
        return _without_database(request, HTTPStatus.INTERNAL_SERVER_ERROR, body, "server_error")
    body = refusals.of_outage(request.path, may_be_committed=database_errors.may_be_committed(error))
    response = _without_database(request, HTTPStatus.SERVICE_UNAVAILABLE, body, body["reason"])
    response.headers["Retry-After"] = str(RETRY_AFTER)
    line = logs.one_line(error)
    log_response("%s: %s %s: %s", body["reason"], request.method, request.path, line, response=response)
    return response


def _without_database(
    request: HttpRequest, status: HTTPStatus, body: Mapping[str, str], name: str
) -> HttpResponse:
    """Answer without the database, the session and the static files, because these may have failed."""
    if _is_of_api(request):
        return JsonResponse(body, status=status)
    html = render_to_string(f"errors/{name}.html")
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    response = HttpResponse(html, status=status)
    response.headers["Content-Security-Policy"] = f"default-src 'none'; style-src 'sha256-{digest}'"
    return response


@page
def _error(request: HttpRequest, status: HTTPStatus, name: str) -> HttpResponseBase:
    if _is_of_api(request):
        return JsonResponse(refusals.of_status(status), status=status)
    return render(request, f"errors/{name}.html", status=status)


def _is_of_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")
