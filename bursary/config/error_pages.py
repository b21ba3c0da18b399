"""What Django answers where no view does: pages in the style of all others, and JSON below the API."""

from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache

from bursary.api import refusals
from bursary.dashboard.headers import page


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 400: the request is not one that a browser sends by these pages."""
    return _error(request, HTTPStatus.BAD_REQUEST, "bad_request")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 403: the page is not for this account."""
    return _error(request, HTTPStatus.FORBIDDEN, "permission_denied")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Answer 403: a form was sent without its CSRF token, or with an old one. Of htmx: a sentence."""
    if request.headers.get("HX-Request") and not _is_of_api(request):
        return page(render)(request, "dashboard/parts/unsent.html", status=HTTPStatus.FORBIDDEN)
    return _error(request, HTTPStatus.FORBIDDEN, "csrf_failure")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer 404, for what there is not and for what is not for this account."""
    return _error(request, HTTPStatus.NOT_FOUND, "not_found")


@never_cache
def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer 500, without the database, the session or the static files, which may be what failed."""
    if _is_of_api(request):
        return _json(HTTPStatus.INTERNAL_SERVER_ERROR)
    html = render_to_string("errors/server_error.html")
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    response = HttpResponse(html, status=HTTPStatus.INTERNAL_SERVER_ERROR)
    response.headers["Content-Security-Policy"] = f"default-src 'none'; style-src 'sha256-{digest}'"
    return response


@page
def _error(request: HttpRequest, status: HTTPStatus, name: str) -> HttpResponseBase:
    if _is_of_api(request):
        return _json(status)
    return render(request, f"errors/{name}.html", status=status)


def _is_of_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _json(status: HTTPStatus) -> JsonResponse:
    return JsonResponse(refusals.of_status(status), status=status)
