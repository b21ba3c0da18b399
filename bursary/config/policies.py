"""Headers of every response: caches keep nothing, and pages load nothing of other origins."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from bursary.dashboard.headers import CONTENT_SECURITY_POLICY

DESCRIPTION = "/api/v1/docs/"
GetResponse = Callable[[HttpRequest], HttpResponseBase]

# The browsable API sets styles in its pages, and has a font of icons.
API_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def restricted(get_response: GetResponse) -> GetResponse:
    """Return the middleware that forbids caches to keep an answer, and pages what they do not use.

    Static files are answered outside of it, and may be kept.
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
