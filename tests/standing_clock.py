"""A clock in the place of a module's `time`."""

import time


class StandingClock:
    """Stands still until a test sets `now`, in seconds: nothing depends on how fast the machine is."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.time = time.time

    def monotonic(self) -> float:
        return self.now
