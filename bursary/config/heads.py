"""Answers to HEAD: what GET would say, without the body. Web servers drop one, and warn of it each time."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase, StreamingHttpResponse

Answer = Callable[[HttpRequest], HttpResponseBase]


def without_body(answer: Answer) -> Answer:
    """Return the middleware that takes the body from answers to HEAD. Its length stays in the headers."""

    def answered(request: HttpRequest) -> HttpResponseBase:
        response = answer(request)
        if request.method == "HEAD":
            if isinstance(response, StreamingHttpResponse):
                response.streaming_content = ()
            elif isinstance(response, HttpResponse):
                response.content = b""
        return response

    return answered
