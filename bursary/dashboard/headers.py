"""What every page says to browsers and proxies: keep nothing, run nothing, send forms nowhere else."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

P = ParamSpec("P")


def page(view: Callable[P, HttpResponseBase]) -> Callable[P, HttpResponseBase]:
    """Make a view's answer private, and forbid whatever the pages do not use: scripts above all."""

    @wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        response = view(*args, **kwargs)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return never_cache(answer)


def form_leads_to(url: str, *, response: HttpResponse) -> HttpResponse:
    """Let the page's forms lead on to another site: browsers hold redirects to `form-action`, too.

    The site may send on, to sign in for example, so not its host is allowed but its scheme.
    """
    scheme, separator, _ = url.partition("://")
    if separator:
        widened = CONTENT_SECURITY_POLICY.replace("form-action 'self'", f"form-action 'self' {scheme}:")
        response.headers["Content-Security-Policy"] = widened
    return response
