"""The breaker: leaves a service that fails alone for a while, and then lets one call find out how it is."""

import random
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from bursary.upstream.errors import Outage, UpstreamUnavailable

FAILURES = 5  # in a row
COOL_DOWN = timedelta(seconds=30)


class BreakerState(StrEnum):
    """Whether a remote service is asked."""

    CLOSED = "closed"
    """It is asked."""
    OPEN = "open"
    """It failed too often: it is not asked until the cool-down is over."""
    HALF_OPEN = "half_open"
    """One call tries whether it is back; the others wait for what that finds."""


class Breaker:
    """Counts failures in a row. Shared by threads; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        cool_down: timedelta = COOL_DOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = failures
        self._cool_down = cool_down.total_seconds()
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._closed = True
        self._open_until = 0.0
        self._probe_began: float | None = None
        self._epoch = 0
        self._because = ""

    @property
    def state(self) -> BreakerState:
        """Return where it stands now."""
        with self._lock:
            if self._closed:
                return BreakerState.CLOSED
            waiting = self._probe_began is None and self._clock() < self._open_until
            return BreakerState.OPEN if waiting else BreakerState.HALF_OPEN

    def enter(self) -> int:
        """Return a ticket to ask with, to be handed back with how it went.

        Raises UpstreamUnavailable where the service is left alone. Of those that come after the cool-down the
        first one gets a ticket; if it never comes back with it, another does when a cool-down has passed.
        """
        with self._lock:
            now = self._clock()
            if not self._closed:
                if now < self._open_until:
                    raise _left_alone(self._open_until - now, because=self._because)
                self._probe_began = now
                self._open_until = now + self._cool_down
                self._epoch += 1
            return self._epoch

    def succeeded(self, ticket: int) -> None:
        """Note that it answered. A ticket from before the last change of state counts for nothing."""
        with self._lock:
            if ticket == self._epoch:
                self._failures = 0
                self._closed = True
                self._probe_began = None

    def failed(self, ticket: int, *, because: str) -> None:
        """Note that it did not, and why: those who are turned away later are told."""
        with self._lock:
            if ticket != self._epoch:
                return
            self._failures += 1
            self._because = because
            if self._probe_began is not None or (self._closed and self._failures >= self._most):
                self._open()

    def _open(self) -> None:
        # Jitter: many processes that lost one service must not come back at one instant.
        pause = self._cool_down * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load, keeps no secret
        self._closed = False
        self._probe_began = None
        self._open_until = self._clock() + pause
        self._epoch += 1


def _left_alone(seconds: float, *, because: str) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        Outage.CIRCUIT_OPEN,
        f"It failed several times in a row and is left alone for another {seconds:.0f} s. Last: {because}",
        retry_after=seconds,
    )
