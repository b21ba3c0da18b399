"""A client for one remote service: JSON over HTTP, with a deadline for each call, behind a breaker."""

import asyncio
import json
import logging
import os
import re
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import httpx2
import stamina
from anyio.from_thread import BlockingPortal

from bursary.lib.breaker import Breaker, BreakerOpen
from bursary.lib.numbers import from_digits
from bursary.upstream.errors import (
    Outage,
    UnreadableAnswer,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bursary.upstream.token import ClientCredentials, Tokens

DEADLINE = timedelta(seconds=10)
ATTEMPTS = 3
MAX_WAIT = 0.5  # seconds: the longest random wait before a retry, unless the service asks for more
MAX_BYTES = 16 * 1024 * 1024
MAX_TOKEN_BYTES = 64 * 1024
MAX_REFUSAL_BYTES = 4096  # read of an answer without success
EXCERPT_CHARACTERS = 200  # of such an answer in an error; it ends before a token
RECOGNISABLE = 20  # characters by which a token in an answer is found
MAX_RETRY_AFTER = 3600.0  # seconds
MAX_CONNECTIONS = 16  # per process; its threads are fewer, so no call waits for a connection
IDLE_SECONDS = 15.0  # servers commonly close idle connections after 20 s or more

_REFUSALS = {401: "unauthorized", 403: "forbidden", 404: "not_found"}
_TEMPORARY = {408: Outage.SERVER_UNAVAILABLE, 429: Outage.TOO_MANY_REQUESTS} | dict.fromkeys(
    (502, 503, 504), Outage.SERVER_UNAVAILABLE
)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")

ObjectHook = Callable[[dict[str, Any]], object]
"""Returns the value to keep of an object in an answer, as in `json.loads`."""

logger = logging.getLogger(__name__)


class Client:
    """One remote service, shared by threads."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: ClientCredentials | None = None,
        deadline: timedelta = DEADLINE,
        attempts: int = ATTEMPTS,
        max_bytes: int = MAX_BYTES,
        breaker: Breaker | None = None,
    ) -> None:
        """`deadline` limits a whole call, `max_bytes` the decompressed answer.

        Raises ValueError for a URL that is not http(s), or that holds a password.
        """
        self._base = web_address(base_url)
        if credentials:
            web_address(credentials.url)
        self._deadline = deadline
        self._attempts = attempts
        self._max_bytes = max_bytes
        self._tokens = Tokens(credentials, post_form=post_form) if credentials else None
        self.breaker = breaker or Breaker()

    def get(
        self,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        timeout: timedelta | None = None,
        bisecting: bool = False,
    ) -> object:
        """Return the JSON value at a path below the base address; a name may repeat in `params`.

        `timeout` shortens the deadline. With `bisecting`, the request is a part of one that failed: it is
        sent once, and a faulty answer is no failure for the breaker, because its cause may be one record.
        Raises UpstreamUnavailable, UpstreamRefused and UnreadableAnswer.
        """
        if timeout is not None and timeout <= timedelta(0):
            raise _late(timeout)
        request = partial(self._send, "GET", self._base + path, params=list(params) or None)
        return self._ask(request, timeout=timeout, retried=not bisecting, bisecting=bisecting)

    def post(
        self,
        path: str,
        *,
        json: object,
        timeout: timedelta | None = None,
        idempotent: bool = False,
        object_hook: ObjectHook | None = None,
    ) -> object:
        """Post a JSON value; return the service's answer. Only an `idempotent` request is retried.

        `object_hook` returns the value to keep of each object in the answer. Raises what `get` raises, after
        which the service may still have carried out the request.
        """
        request = partial(self._send, "POST", self._base + path, json=json)
        return self._ask(request, timeout=timeout, retried=idempotent, object_hook=object_hook)

    def _ask(
        self,
        request: Callable[[], Awaitable[bytearray]],
        *,
        timeout: timedelta | None,
        retried: bool,
        bisecting: bool = False,
        object_hook: ObjectHook | None = None,
    ) -> object:
        allowed = min(timeout, self._deadline) if timeout is not None else self._deadline
        until = time.monotonic() + allowed.total_seconds()
        for attempt in stamina.retry_context(
            on=partial(_again, until=until),
            attempts=self._attempts if retried else 1,
            timeout=None,  # `_again` observes the deadline
            wait_initial=0.0,
            wait_jitter=MAX_WAIT,
            wait_max=MAX_WAIT,
        ):
            with attempt:
                ticket = self._enter()
                try:
                    answer = decoded(
                        _portal().call(_in_time, request, until, allowed), object_hook=object_hook
                    )
                except UpstreamError as failure:
                    faulty = isinstance(failure, UnreadableAnswer) or failure.reason == Outage.SERVER_ERROR
                    if _answered(failure):
                        self.breaker.succeeded(ticket)
                    elif not (bisecting and faulty):
                        self.breaker.failed(ticket, because=str(failure))
                    raise
                self.breaker.succeeded(ticket)
                return answer
        raise AssertionError("stamina returns or raises")

    def _enter(self) -> int:
        """Return the breaker's ticket for a request. Raises UpstreamUnavailable while the breaker is open."""
        try:
            return self.breaker.enter()
        except BreakerOpen as refused:
            raise UpstreamUnavailable(
                Outage.CIRCUIT_OPEN, str(refused), retry_after=refused.seconds
            ) from refused

    async def _send(self, method: str, url: str, **content: Any) -> bytearray:
        """Send one request with a token. If the token is refused, repeat it once with a new one."""
        if self._tokens is None:
            return await _exchange(method, url, max_bytes=self._max_bytes, **content)
        for last in (False, True):
            token = await self._tokens.current()
            try:
                return await _exchange(method, url, max_bytes=self._max_bytes, token=token, **content)
            except UpstreamRefused as refused:
                if last or refused.status != 401:
                    raise
                self._tokens.drop(token)
        raise AssertionError("the second attempt returns or raises")


def web_address(url: str) -> str:
    """Return an http(s) address without its last slash; raise ValueError for any other address."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
        raise ValueError("An address is https://host/ or http://host/, without a user name or password.")
    if address.query or address.fragment:
        raise ValueError("An address has neither a question mark nor a hash sign in it.")
    try:
        _ = address.port, httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL) as error:
        raise ValueError(f"This is no address: {error}.") from error
    return url.rstrip("/")


def _again(failure: Exception, *, until: float) -> bool | float:
    """Return whether to try again, or the pause in seconds that the service asks for."""
    final = (Outage.CIRCUIT_OPEN, Outage.DEADLINE_EXCEEDED)
    if not isinstance(failure, UpstreamUnavailable) or failure.outage in final:
        return False
    pause = failure.retry_after
    if time.monotonic() + (MAX_WAIT if pause is None else pause) >= until:
        return False
    logger.info("Retrying after %s", failure.reason)
    return True if pause is None else pause


def _answered(failure: UpstreamError) -> bool:
    """Return whether the failure shows that the service works: a refusal, or an answer that is too large."""
    if isinstance(failure, UpstreamRefused):
        return failure.reason not in ("unauthorized", "credentials_refused")
    return failure.reason == "too_large"


# -- The event loop that all calls of a process run in ------------------------------------------------------


class _Loop(NamedTuple):
    portal: BlockingPortal
    http: httpx2.AsyncClient


_loops: dict[int, _Loop] = {}
_starting = threading.Lock()


def _portal() -> BlockingPortal:
    """Return this process's portal. It is started by the first call, because threads do not survive a fork.

    The thread is a daemon and is never stopped or joined, so `start_blocking_portal`, which joins it, is not
    used. An event loop for each call would wait, at its end, for the thread that resolves a name: with a
    limit of 1 s and a resolver that hangs for 12 s, a call returned after 12 s. With this one, after 1 s.
    """
    with _starting:
        if (process := os.getpid()) not in _loops:
            # If the loop's thread imports it, as anyio does, its heap keeps 0.4 MB; 4 MB if it is compiled.
            import anyio._backends._asyncio  # noqa: PLC0415  # without an upstream, nothing needs it

            certificates = httpx2.create_ssl_context()  # SSL_CERT_FILE is respected; proxies are not
            started: Future[_Loop] = Future()
            threading.Thread(
                target=anyio.run, args=(_serve, certificates, started), name="bursary-http", daemon=True
            ).start()
            _loops[process] = started.result()
        return _loops[process].portal


class _Resolvers(ThreadPoolExecutor):
    """Resolves each name in a daemon thread. The process would wait at exit for the threads of a pool."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def resolve() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001  # the caller raises it
                    future.set_exception(error)

        threading.Thread(target=resolve, name="bursary-resolver", daemon=True).start()
        return future


async def _serve(certificates: ssl.SSLContext, started: Future[_Loop]) -> None:
    asyncio.get_running_loop().set_default_executor(_Resolvers())
    async with BlockingPortal() as portal:
        # No proxies from the environment. No redirects, which would send the token elsewhere. No cookies,
        # by which the service would take this client for a browser. No time-outs: each call has a deadline.
        http = httpx2.AsyncClient(
            verify=certificates,
            trust_env=False,
            timeout=None,
            limits=httpx2.Limits(
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS,
                keepalive_expiry=IDLE_SECONDS,
            ),
            headers={"user-agent": "bursary", "accept": "application/json", "accept-encoding": "gzip"},
        )
        http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        started.set_result(_Loop(portal, http))
        await portal.sleep_until_stopped()


# -- One exchange, inside that loop -------------------------------------------------------------------------


async def _in_time(
    request: Callable[[], Awaitable[bytearray]], until: float, allowed: timedelta
) -> bytearray:
    """Return the answer; every failure becomes an UpstreamError."""
    try:
        with anyio.fail_after(until - time.monotonic()):
            return await request()
    except TimeoutError as late:
        raise _late(allowed) from late
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as unreachable:
        raise UpstreamUnavailable(
            Outage.CONNECTION_FAILED, f"No connection was made: {unreachable}."
        ) from unreachable
    except (httpx2.TransportError, ssl.SSLError) as broken:
        # Without the error's message: it may quote the answer, and the answer may quote the token.
        raise UpstreamUnavailable(
            Outage.CONNECTION_LOST, "It closed the connection, or did not speak HTTP."
        ) from broken
    except httpx2.DecodingError as broken:
        raise UnreadableAnswer("not_json", "The answer's compression is broken.") from broken
    except (httpx2.InvalidURL, OverflowError) as error:
        raise UpstreamUnavailable(Outage.CONNECTION_FAILED, "Its address cannot be used.") from error


def _late(allowed: timedelta) -> UpstreamUnavailable:
    seconds = allowed.total_seconds()
    return UpstreamUnavailable(Outage.DEADLINE_EXCEEDED, f"No complete answer came within {seconds:g} s.")


async def post_form(url: str, form: Mapping[str, str]) -> object:
    """Post a form to a token endpoint and return the JSON value of its answer. Runs in the loop."""
    return decoded(await _exchange("POST", url, max_bytes=MAX_TOKEN_BYTES, data=dict(form)))


async def _exchange(
    method: str,
    url: str,
    *,
    max_bytes: int,
    token: str = "",
    **content: Any,
) -> bytearray:
    """Send one request; return the answer's body.

    Raises UpstreamRefused for a refusal or a redirect, UpstreamUnavailable for an error of the server,
    UnreadableAnswer for more than `max_bytes` after decompression.
    """
    headers = {"authorization": f"JWT {token}"} if token else None
    body = bytearray()
    async with _loops[os.getpid()].http.stream(method, url, headers=headers, **content) as response:
        limit = max_bytes if response.is_success else MAX_REFUSAL_BYTES
        async with aclosing(response.aiter_bytes()) as pieces:  # at most 1 MiB each, decompressed
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    break
    if not response.is_success:
        raise _failure(response, body.decode(errors="replace"), hiding=token)
    if len(body) > limit:
        raise UnreadableAnswer("too_large", f"The answer is longer than {max_bytes} bytes.")
    return body


def decoded(body: bytearray, *, object_hook: ObjectHook | None = None) -> object:
    """Return the JSON value, or None for an empty body. Raises UnreadableAnswer.

    Empties the body once it is decoded, so that memory never holds three copies of a long answer.
    """
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")  # as `json.loads` reads bytes
        body.clear()
        return json.loads(text, object_hook=object_hook) if text and not text.isspace() else None
    except (ValueError, RecursionError) as unreadable:  # RecursionError: deep nesting
        raise UnreadableAnswer("not_json", "The answer is not JSON.") from unreadable


def _failure(response: httpx2.Response, text: str, *, hiding: str) -> UpstreamError:
    """Return the error for an answer without success; `hiding` is a token that it must not contain."""
    status = response.status_code
    if status in _TEMPORARY or status >= 500:
        # Only seconds are read: a date would depend on the other machine's clock.
        pause = from_digits(response.headers.get("retry-after", ""), max_digits=20)
        return UpstreamUnavailable(
            _TEMPORARY.get(status, Outage.SERVER_ERROR),
            f"It answered with {status}.",
            retry_after=None if pause is None else min(float(pause), MAX_RETRY_AFTER),
        )
    if status < 400:
        return UpstreamRefused("redirected", f"It redirects ({status}): another address.", status=status)
    if hiding:
        # By the token's beginning, because only a part of the answer was read.
        before, found, _after = text.partition(hiding[:RECOGNISABLE])
        text = f"{before}…" if found else text
    excerpt = _BLANKS.sub(" ", text).strip()[:EXCERPT_CHARACTERS]
    reason = _REFUSALS.get(status, "refused")
    return UpstreamRefused(reason, f"It answered with {status}.", status=status, excerpt=excerpt)
