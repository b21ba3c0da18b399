"""HEAD, as a web server asks for it: Django's own test client would drop the body anyway."""

from collections.abc import Callable, Iterator

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, StreamingHttpResponse
from django.test import RequestFactory

from bursary.config.heads import without_body


def asked(method: str, path: str) -> tuple[str, dict[str, str], bytes]:
    """Return the status, the headers and the body with which the application answers a web server."""
    environ = RequestFactory().generic(method, path).environ
    started: list[tuple[str, dict[str, str]]] = []

    def start(
        status: str, headers: list[tuple[str, str]], _error: object = None, /
    ) -> Callable[[bytes], object]:
        started.append((status, dict(headers)))
        return lambda _body: None

    answer = WSGIHandler()(environ, start)
    ((status, headers),) = started
    body = b"".join(answer)
    if close := getattr(answer, "close", None):  # as every web server does
        close()
    return status, headers, body


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    ["/a/nonsense/", "/", "/sign-in/", "/healthz", "/api/v1/budgets/", "/static/dashboard/bursary.css"],
)
def test_the_answer_to_head_is_that_to_get_without_its_body(path: str) -> None:
    status, headers, body = asked("GET", path)
    assert asked("HEAD", path)[0] == status
    assert asked("HEAD", path)[2] == b""
    if body:
        assert asked("HEAD", path)[1]["Content-Length"] == headers["Content-Length"] == str(len(body))


def test_what_would_be_streamed_is_not_even_begun() -> None:
    begun = []

    def parts() -> Iterator[bytes]:
        begun.append(True)
        yield b"part"

    answer = without_body(lambda _request: StreamingHttpResponse(parts()))
    request = HttpRequest()
    request.method = "HEAD"
    assert b"".join(answer(request)) == b""
    assert begun == []
