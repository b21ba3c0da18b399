"""Responses to HEAD: those to GET, without the body. Web servers drop a body with a warning in the log."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase, StreamingHttpResponse

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def without_body(get_response: GetResponse) -> GetResponse:
    """Return the middleware that removes the body from responses to HEAD. `Content-Length` stays."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.method == "HEAD":
            if isinstance(response, StreamingHttpResponse):
                response.streaming_content = ()
            elif isinstance(response, HttpResponse):
                response.content = b""
        return response

    return respond
