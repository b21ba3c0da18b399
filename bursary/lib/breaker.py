"""A circuit breaker: stops calls to a service that keeps failing, then lets one call probe it."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from bursary.lib.retries import jittered

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


class BreakerOpen(Exception):
    """The breaker is open, for another `seconds`. No call was made."""

    def __init__(self, seconds: float, *, last_failure: str) -> None:
        super().__init__(
            f"It failed several times in a row and is left alone for another {seconds:.0f} s. "
            f"Last: {last_failure}"
        )
        self.seconds = seconds


class Breaker:
    """Counts failures in a row. Shared by threads; `clock` is monotonic, in seconds.

    With `jitter`, it stays open for a random time around `cool_down`, so that many processes do not call the
    service again at the same time.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        cool_down: timedelta = COOL_DOWN,
        jitter: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_failures = failures
        self._cool_down = cool_down.total_seconds()
        self._jitter = jitter
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

        Raises BreakerOpen while the breaker is open. After the cool-down the first call gets a ticket. If its
        result never comes, another call gets one a cool-down later.
        """
        with self._lock:
            if self._open_until is not None:
                now = self._clock()
                if now < self._open_until:
                    raise BreakerOpen(self._open_until - now, last_failure=self._last_failure)
                self._probing = True
                self._open_until = now + self._cool_down
                self._epoch += 1
            return self._epoch

    def succeeded(self, ticket: int) -> bool:
        """Record that the service answered; return whether that closed the breaker.

        A ticket from before the last change of state has no effect.
        """
        with self._lock:
            if ticket != self._epoch:
                return False
            closes = self._open_until is not None
            self._failures = 0
            self._open_until = None
            self._probing = False
            return closes

    def failed(self, ticket: int, *, because: str) -> bool:
        """Record that the service failed; return whether that opened the breaker, which was closed.

        `because` is in the error of the calls that are refused later.
        """
        with self._lock:
            if ticket != self._epoch:
                return False
            self._failures += 1
            self._last_failure = because
            opens = self._open_until is None and self._failures >= self._max_failures
            if opens or self._probing:
                pause = jittered(self._cool_down) if self._jitter else self._cool_down
                self._open_until = self._clock() + pause
                self._probing = False
                self._epoch += 1
            return opens
