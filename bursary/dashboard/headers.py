"""The HTTP headers of every page: no caching; styles, scripts and forms only from this site."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from bursary.access.models import User

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; "  # the style sheet draws check boxes, arrows and crosses from `data:`
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_UNSENT = "&unsent=yes"

P = ParamSpec("P")


def page(view: Callable[P, HttpResponseBase]) -> Callable[P, HttpResponseBase]:
    """Decorate a view: its response is not cached, and forbids everything that pages do not use.

    For htmx, a redirect to sign in becomes a sentence, so that the page and its input stay. For other forms,
    the sign-in page and the next one show that nothing was done.
    """

    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = view(*args, **kwargs)
        request = args[0]
        to_sign_in = response.get("Location", "").startswith(f"{resolve_url(settings.LOGIN_URL)}?")
        if to_sign_in and isinstance(request, HttpRequest):
            if request.headers.get("HX-Request"):
                response = render(request, "dashboard/parts/unsent.html", {"signed_out": True}, status=401)
            elif request.method == "POST" and not response.headers["Location"].endswith(_UNSENT):
                response.headers["Location"] += _UNSENT
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return never_cache(answer)


def page_of_user(
    view: Callable[[HttpRequest, UUID, User], HttpResponse],
) -> Callable[[HttpRequest, UUID], HttpResponseBase]:
    """Decorate a view that receives the signed-in user; without one, redirect to sign in."""

    @page
    @require_http_methods(["GET", "HEAD", "POST"])
    @login_required
    @wraps(view)
    def answer(request: HttpRequest, uuid: UUID) -> HttpResponse:
        assert isinstance(request.user, User)  # noqa: S101  # login_required sees to it
        return view(request, uuid, request.user)

    return answer
