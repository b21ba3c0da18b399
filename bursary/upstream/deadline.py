"""One deadline for a whole call: the token, connecting, each attempt, the waits between, and the body."""

import time
from datetime import timedelta
from typing import Self

from bursary.upstream.errors import Outage, UpstreamUnavailable


class Deadline:
    """An instant of the monotonic clock, and how long it is until then."""

    def __init__(self, until: float, *, allowed: timedelta) -> None:
        self.until = until
        self._allowed = allowed

    @classmethod
    def after(cls, allowed: timedelta) -> Self:
        """Return the deadline that lies `allowed` ahead."""
        return cls(time.monotonic() + allowed.total_seconds(), allowed=allowed)

    @property
    def left(self) -> float:
        """Return the seconds that are left, 0 where none are."""
        return max(self.until - time.monotonic(), 0.0)

    def remaining(self) -> float:
        """Return the seconds that are left, above 0. Raises UpstreamUnavailable where none are."""
        seconds = self.left
        if not seconds:
            raise self.exceeded()
        return seconds

    def exceeded(self) -> UpstreamUnavailable:
        """Return what to raise when time is up."""
        seconds = self._allowed.total_seconds()
        return UpstreamUnavailable(Outage.DEADLINE_EXCEEDED, f"No complete answer came within {seconds:g} s.")
