"""One exchange: a request goes out, a bounded answer comes back in time, and every failure has a name."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from bursary.upstream.deadline import Deadline
from bursary.upstream.errors import Outage, UnreadableAnswer, UpstreamRefused, UpstreamUnavailable
from bursary.upstream.transport import DeadlineTransport, instants

MOST_OF_A_REFUSAL = 4096  # bytes read of an answer that is no success
LONGEST_EXCERPT = 200  # characters of it that are repeated
LONGEST_PAUSE = 3600.0  # seconds that a server may ask for

_REFUSALS = {401: "unauthorized", 403: "forbidden", 404: "not_found"}
_TEMPORARY = {408: Outage.SERVER_UNAVAILABLE, 429: Outage.TOO_MANY_REQUESTS} | dict.fromkeys(
    (502, 503, 504), Outage.SERVER_UNAVAILABLE
)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


Keeping = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. Its text leaves out what may be secret; the token is not part of it."""

    method: str
    url: str
    params: Sequence[tuple[str, str]] = ()
    json: object = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    keeping: Keeping | None = field(default=None, repr=False)
    """What is kept of each object in the answer, if not all of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; of an answer that is no success, only the beginning."""

    status: int
    body: bytes | bytearray
    retry_after: float | None


class Wire:
    """Connections to remote services, shared by threads. It keeps no cookies, and follows no redirects.

    A cookie would make the remote service take us for a browser; a redirect would carry the token elsewhere.
    Proxies of the environment are not used.
    """

    def __init__(self) -> None:
        self._http = httpx2.Client(
            transport=DeadlineTransport(),
            trust_env=False,
            headers={"user-agent": "bursary", "accept": "application/json", "accept-encoding": "gzip"},
        )
        self._http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def exchange(
        self, question: Question, *, deadline: Deadline, most_bytes: int, authorization: str = ""
    ) -> Answer:
        """Ask once and return whatever status comes.

        Raises UpstreamUnavailable where none comes in time, UnreadableAnswer for more than `most_bytes`
        after decompression, or a compression that is none.
        """
        try:
            return self._exchange(question, deadline, most_bytes, authorization)
        except httpcore2.TimeoutException as late:
            if time.monotonic() < deadline.until:  # the system's own patience ended first
                raise _lost(Outage.CONNECTION_FAILED, "No connection was made.") from late
            raise deadline.exceeded() from late
        except httpcore2.ConnectError as unreachable:
            raise _lost(Outage.CONNECTION_FAILED, f"No connection was made: {unreachable}.") from unreachable
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as broken:
            # Not in its own words: they may quote what came, and what came may quote us.
            raise _lost(Outage.CONNECTION_LOST, "It hung up, or did not speak HTTP.") from broken
        except httpx2.DecodingError as broken:
            raise UnreadableAnswer("not_json", "The answer's compression is broken.") from broken

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def _exchange(
        self, question: Question, deadline: Deadline, most_bytes: int, authorization: str
    ) -> Answer:
        content: dict[str, Any] = {"json": question.json} if question.json is not None else {}
        if question.form is not None:
            content = {"data": dict(question.form)}
        with self._http.stream(
            question.method,
            question.url,
            params=list(question.params) or None,
            headers={"authorization": authorization} if authorization else None,
            timeout=instants(deadline),
            **content,
        ) as response:
            good = response.is_success
            body = _body(response, deadline=deadline, most=most_bytes if good else MOST_OF_A_REFUSAL)
            if good and len(body) > most_bytes:
                raise UnreadableAnswer("too_large", f"The answer is longer than {most_bytes} bytes.")
            return Answer(response.status_code, body, _retry_after(response))


def value_of(answer: Answer, *, hiding: str = "", keeping: Keeping | None = None) -> object:
    """Return the JSON value of a successful answer, None for an empty one.

    `hiding` is a secret that an excerpt must not repeat. `keeping` is given each object as soon as it is
    read and returns what is kept in its place: of a long answer, no more than is needed.
    Raises UpstreamRefused for a refusal or a redirect, UpstreamUnavailable for a fault of the server's,
    UnreadableAnswer for what is not JSON.
    """
    if answer.status >= 300:
        raise _failure(answer, hiding=hiding)
    if not answer.body.strip():
        return None
    try:
        return json.loads(answer.body, object_hook=keeping)
    except (ValueError, RecursionError) as unreadable:  # RecursionError: ten thousand brackets
        raise UnreadableAnswer("not_json", "The answer is not JSON.") from unreadable


def _body(response: httpx2.Response, *, deadline: Deadline, most: int) -> bytearray:
    """Read up to the first piece beyond `most` bytes; a piece is at most 1 MiB, compressed or not."""
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > most:
            break
        deadline.remaining()
    return body


def _failure(answer: Answer, *, hiding: str) -> UpstreamUnavailable | UpstreamRefused:
    status = answer.status
    if status in _TEMPORARY or status >= 500:
        outage = _TEMPORARY.get(status, Outage.SERVER_ERROR)
        return UpstreamUnavailable(
            outage, f"It answered with {status}.", status=status, retry_after=answer.retry_after
        )
    excerpt = _excerpt(answer.body, hiding=hiding)
    if status < 400:
        return UpstreamRefused("redirected", f"It redirects ({status}): another address.", status=status)
    reason = _REFUSALS.get(status, "refused")
    return UpstreamRefused(reason, f"It answered with {status}.", status=status, excerpt=excerpt)


def _excerpt(body: bytes | bytearray, *, hiding: str) -> str:
    text = body.decode(errors="replace")
    if hiding:
        text = text.replace(hiding, "…")
    return _BLANKS.sub(" ", text).strip()[:LONGEST_EXCERPT]


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds alone: nobody's clock need agree with ours."""
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_PAUSE) if value.isascii() and value.isdecimal() else None


def _lost(outage: Outage, detail: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(outage, detail)
