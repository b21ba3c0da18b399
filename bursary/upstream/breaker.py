"""A circuit breaker: stops calls to a service that keeps failing, then lets one call probe it."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from bursary.lib.retries import jittered
from bursary.upstream.errors import Outage, UpstreamUnavailable

FAILURES = 5  # in a row
COOL_DOWN = timedelta(seconds=30)


class BreakerState(StrEnum):
    """Whether calls to a remote service are made."""

    CLOSED = "closed"
    """Calls are made."""
    OPEN = "open"
    """It failed several times in a row: no call is made until the cool-down is over."""
    HALF_OPEN = "half_open"
    """One call probes the service; all others fail until that call has ended."""


class Breaker:
    """Counts failures in a row. Shared by threads; `clock` is monotonic, in seconds."""

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        cool_down: timedelta = COOL_DOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_failures = failures
        self._cool_down = cool_down.total_seconds()
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._last_failure = ""
        self._open_until: float | None = None  # None while closed
        self._probing = False
        self._epoch = 0  # incremented with each change of state

    @property
    def state(self) -> BreakerState:
        """The present state."""
        with self._lock:
            if self._open_until is None:
                return BreakerState.CLOSED
            half_open = self._probing or self._clock() >= self._open_until
            return BreakerState.HALF_OPEN if half_open else BreakerState.OPEN

    def enter(self) -> int:
        """Return a ticket for one call, to be passed to `succeeded` or `failed` afterwards.

        Raises UpstreamUnavailable while the breaker is open. After the cool-down the first call gets a
        ticket. If its result never comes, another call gets one a cool-down later.
        """
        with self._lock:
            if self._open_until is not None:
                now = self._clock()
                if now < self._open_until:
                    seconds = self._open_until - now
                    raise UpstreamUnavailable(
                        Outage.CIRCUIT_OPEN,
                        "It failed several times in a row and is left alone for another "
                        f"{seconds:.0f} s. Last: {self._last_failure}",
                        retry_after=seconds,
                    )
                self._probing = True
                self._open_until = now + self._cool_down
                self._epoch += 1
            return self._epoch

    def succeeded(self, ticket: int) -> None:
        """Record that the service answered. A ticket from before the last change of state has no effect."""
        with self._lock:
            if ticket == self._epoch:
                self._failures = 0
                self._open_until = None
                self._probing = False

    def failed(self, ticket: int, *, because: str) -> None:
        """Record that the service failed; `because` is in the error of the calls that are refused later."""
        with self._lock:
            if ticket != self._epoch:
                return
            self._failures += 1
            self._last_failure = because
            if self._probing or (self._open_until is None and self._failures >= self._max_failures):
                # Jitter, so that many processes do not call the service again at the same time.
                pause = jittered(self._cool_down)
                self._open_until = self._clock() + pause
                self._probing = False
                self._epoch += 1
