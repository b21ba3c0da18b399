"""Headers of every response: caches store nothing, and pages load nothing from other origins."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from bursary.dashboard.headers import CONTENT_SECURITY_POLICY

DESCRIPTION = "/api/v1/docs/"
GetResponse = Callable[[HttpRequest], HttpResponseBase]

# The browsable API has inline styles and a font of icons.
API_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def restricted(get_response: GetResponse) -> GetResponse:
    """Return the middleware that sets `Cache-Control` and the content security policy.

    Static files are served before it, and may be cached.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        browsable = request.path.startswith("/api/") and request.path != DESCRIPTION
        policy = API_POLICY if browsable else CONTENT_SECURITY_POLICY
        response.headers.setdefault("Content-Security-Policy", policy)
        if "no-store" not in response.headers.get("Cache-Control", ""):
            response.headers["Cache-Control"] = "no-store, private"
        return response

    return respond
