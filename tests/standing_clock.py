"""A clock in the place of a module's `time`."""

import time


class StandingClock:
    """Stands still until a test sets `now`, in seconds, or the module sleeps: no machine is too slow."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.time = time.time
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
