"""Errors of requests to a remote service. No message contains a secret or a token."""

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
    """It answered with an error of its own, perhaps only for this request."""
    SERVER_UNAVAILABLE = "server_unavailable"
    """It, or a proxy in front of it, answered that it is unavailable."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """It asks for a pause."""
    CIRCUIT_OPEN = "circuit_open"
    """The breaker is open after several failures in a row. No request was sent."""


class UpstreamError(Exception):
    """No usable answer. `reason` is stable, the message is for people."""

    reason: str


class UpstreamUnavailable(UpstreamError):
    """The service did not answer the request. A later attempt may succeed.

    `retry_after` is the pause, in seconds, that the service asks for.
    """

    def __init__(self, reason: Outage, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason.value
        self.outage = reason
        self.retry_after = retry_after


class UpstreamRefused(UpstreamError):
    """The service refused the request. Repeating it is useless.

    `status` is the answer's status, `excerpt` its beginning in printable characters.
    """

    def __init__(self, reason: str, detail: str, *, status: int, excerpt: str = "") -> None:
        super().__init__(f"{detail} ({excerpt})" if excerpt else detail)
        self.reason = reason
        self.status = status
        self.excerpt = excerpt


class UnreadableAnswer(UpstreamError):
    """The service answered with success, but unusably, such as `not_json` or `too_large`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
