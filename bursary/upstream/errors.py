"""How a question to a remote service fails. No message holds a secret or a token."""

from enum import StrEnum


class Outage(StrEnum):
    """Why a service counts as unavailable."""

    CONNECTION_FAILED = "connection_failed"
    """Its name is unknown, nothing listens at its address, or its certificate is not valid."""
    CONNECTION_LOST = "connection_lost"
    """It closed the connection, or sent something that is not HTTP."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The answer was not complete in time."""
    SERVER_ERROR = "server_error"
    """It answered with a fault of its own, which may be about this one question."""
    SERVER_UNAVAILABLE = "server_unavailable"
    """It, or a proxy in front of it, says that it cannot answer now."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """It asks for a pause."""
    CIRCUIT_OPEN = "circuit_open"
    """The breaker is open after several failures in a row: nothing was sent."""


class UpstreamError(Exception):
    """No usable answer. `reason` is stable, the message is for people."""

    reason: str


class UpstreamUnavailable(UpstreamError):
    """The service did not answer the question. A later attempt may succeed.

    `retry_after` is the pause, in seconds, that the service asks for.
    """

    def __init__(self, reason: Outage, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason.value
        self.outage = reason
        self.retry_after = retry_after


class UpstreamRefused(UpstreamError):
    """The service understood and refused. Asking again changes nothing.

    `status` is its status, `excerpt` the beginning of its answer in plain characters.
    """

    def __init__(self, reason: str, detail: str, *, status: int, excerpt: str = "") -> None:
        super().__init__(f"{detail} ({excerpt})" if excerpt else detail)
        self.reason = reason
        self.status = status
        self.excerpt = excerpt


class UnreadableAnswer(UpstreamError):
    """The service answered with success, but not usably: `not_json` or `too_large`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
