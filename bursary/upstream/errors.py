"""How asking a remote service fails. No message holds a secret or a token."""

from enum import StrEnum


class Outage(StrEnum):
    """Why a service counts as unavailable."""

    CONNECTION_FAILED = "connection_failed"
    """Its name is unknown, nobody listens, or its certificate does not hold."""
    CONNECTION_LOST = "connection_lost"
    """It hung up, or spoke something that is not HTTP."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The answer was not complete in time."""
    SERVER_ERROR = "server_error"
    """It answered with a fault of its own, which may be about this one question."""
    SERVER_UNAVAILABLE = "server_unavailable"
    """It, or what stands before it, says that it cannot answer now."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """It asks for a pause."""
    CIRCUIT_OPEN = "circuit_open"
    """It failed several times in a row and is left alone for a while: nothing was sent."""


class UpstreamError(Exception):
    """No usable answer. `reason` is stable, the message is for people."""

    reason: str


class UpstreamUnavailable(UpstreamError):
    """The service did not answer, or not with anything that speaks of the question. Later it may.

    `status` is 0 where no status came; `retry_after` is how many seconds it asks to be left alone.
    """

    def __init__(
        self, reason: Outage, detail: str, *, status: int = 0, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason.value
        self.outage = reason
        self.status = status
        self.retry_after = retry_after


class UpstreamRefused(UpstreamError):
    """The service understood and said no. Asking again changes nothing.

    `status` is its status, `excerpt` the beginning of what it said, in plain characters.
    """

    def __init__(self, reason: str, detail: str, *, status: int, excerpt: str = "") -> None:
        super().__init__(f"{detail} ({excerpt})" if excerpt else detail)
        self.reason = reason
        self.status = status
        self.excerpt = excerpt


class UnreadableAnswer(UpstreamError):
    """The service answered with success, and the answer is of no use: `not_json` or `too_large`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
