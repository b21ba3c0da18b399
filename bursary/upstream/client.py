"""A remote service: asked by path, answered with JSON, within one deadline, behind a breaker."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import stamina

from bursary.upstream.breaker import Breaker
from bursary.upstream.deadline import Deadline
from bursary.upstream.errors import (
    Outage,
    UnreadableAnswer,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from bursary.upstream.token import Credentials, Tokens
from bursary.upstream.wire import Answer, Keeping, Question, Wire, value_of

DEADLINE = timedelta(seconds=10)
ATTEMPTS = 3
LONGEST_WAIT = 0.5  # seconds before another attempt, unless the service asks for more; drawn from 0 up
MOST_BYTES = 16 * 1024 * 1024

_FINAL = {Outage.CIRCUIT_OPEN, Outage.DEADLINE_EXCEEDED}
_ITS_FAULT = {"unauthorized", "credentials_refused"}

logger = logging.getLogger(__name__)


class Client:
    """One remote service, shared by threads and not by processes: a forked socket speaks twice."""

    def __init__(
        self,
        base_url: str,
        *,
        credentials: Credentials | None = None,
        deadline: timedelta = DEADLINE,
        attempts: int = ATTEMPTS,
        most_bytes: int = MOST_BYTES,
        breaker: Breaker | None = None,
    ) -> None:
        """`deadline` bounds a whole call, `most_bytes` the decompressed answer. Raises ValueError for a URL
        of another kind than http(s), or one with a password in it.
        """
        self._base = web_address(base_url)
        if credentials:
            web_address(credentials.url)
        self._deadline = deadline
        self._attempts = attempts
        self._most_bytes = most_bytes
        self._wire = Wire()
        self._tokens = Tokens(self._wire, credentials) if credentials else None
        self.breaker = breaker or Breaker()

    def get(
        self,
        path: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        within: timedelta | None = None,
        suspect: bool = False,
    ) -> object:
        """Return the JSON value at a path below the base address; a repeated name asks with several values.

        `within` shortens the deadline. A `suspect` question may itself be what the service fails on: it is
        asked once, and a fault in the answer says nothing of the service.
        Raises UpstreamUnavailable, UpstreamRefused and UnreadableAnswer.
        """
        question = Question("GET", self._base + path, params=params)
        return self._ask(question, within=within, repeatable=not suspect, suspect=suspect)

    def post(
        self,
        path: str,
        *,
        json: object,
        within: timedelta | None = None,
        repeatable: bool = False,
        keeping: Keeping | None = None,
    ) -> object:
        """Return what the service answers to a JSON value. Only a `repeatable` question is asked again.

        `keeping` returns what is kept of each object in the answer. Raises what `get` raises; what is not
        repeatable may have been done nevertheless.
        """
        question = Question("POST", self._base + path, json=json, keeping=keeping)
        return self._ask(question, within=within, repeatable=repeatable)

    def close(self) -> None:
        """Close every connection."""
        self._wire.close()

    def _ask(
        self, question: Question, *, within: timedelta | None, repeatable: bool, suspect: bool = False
    ) -> object:
        deadline = Deadline.after(min(within, self._deadline) if within is not None else self._deadline)

        def again(failure: Exception) -> bool | float:
            return _again(failure, deadline=deadline)

        for attempt in stamina.retry_context(
            on=again,
            attempts=self._attempts if repeatable else 1,
            timeout=deadline.remaining(),
            wait_initial=0.0,
            wait_jitter=LONGEST_WAIT,
            wait_max=LONGEST_WAIT,
        ):
            with attempt:
                return self._attempt(question, deadline=deadline, suspect=suspect)
        raise AssertionError  # it returns, or lets the last failure through

    def _attempt(self, question: Question, *, deadline: Deadline, suspect: bool) -> object:
        ticket = self.breaker.enter()
        try:
            value = self._exchange(question, deadline=deadline)
        except UpstreamError as failure:
            if _answered(failure):
                self.breaker.succeeded(ticket)
            elif not (suspect and _may_be_the_questions(failure)):
                self.breaker.failed(ticket, because=str(failure))
            raise
        self.breaker.succeeded(ticket)
        return value

    def _exchange(self, question: Question, *, deadline: Deadline) -> object:
        """Ask with a token. One that is refused may have been revoked: another is tried, once."""
        if self._tokens is None:
            answer = self._wire.exchange(question, deadline=deadline, most_bytes=self._most_bytes)
            return value_of(answer, keeping=question.keeping)
        token = self._tokens.current(deadline=deadline)
        answer = self._exchange_as(token, question, deadline=deadline)
        if answer.status == 401:
            self._tokens.drop(token)
            token = self._tokens.current(deadline=deadline)
            answer = self._exchange_as(token, question, deadline=deadline)
        return value_of(answer, hiding=token, keeping=question.keeping)

    def _exchange_as(self, token: str, question: Question, *, deadline: Deadline) -> Answer:
        return self._wire.exchange(
            question, deadline=deadline, most_bytes=self._most_bytes, authorization=f"JWT {token}"
        )


def web_address(url: str) -> str:
    """Return an http(s) address without its last slash; ValueError for another kind."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
        raise ValueError("An address is https://host/ or http://host/, without a user name or password.")
    if address.query or address.fragment:
        raise ValueError("An address has neither a question mark nor a hash sign in it.")
    return url.rstrip("/")


def _again(failure: Exception, *, deadline: Deadline) -> bool | float:
    """Whether another attempt may help, and, if the service asked for a pause, after how many seconds."""
    if not isinstance(failure, UpstreamUnavailable) or failure.outage in _FINAL:
        return False
    pause = failure.retry_after
    if (LONGEST_WAIT if pause is None else pause) >= deadline.left:
        return False
    logger.info("another attempt after %s", failure.reason)
    return True if pause is None else pause


def _answered(failure: UpstreamError) -> bool:
    """Whether the service is there: it refused this question, or said too much."""
    if isinstance(failure, UpstreamRefused):
        return failure.reason not in _ITS_FAULT
    return isinstance(failure, UnreadableAnswer) and failure.reason == "too_large"


def _may_be_the_questions(failure: UpstreamError) -> bool:
    if isinstance(failure, UpstreamUnavailable):
        return failure.outage is Outage.SERVER_ERROR
    return isinstance(failure, UnreadableAnswer)
