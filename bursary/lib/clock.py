"""Time as an argument: the domain has no clock of its own."""

from collections.abc import Callable
from datetime import datetime, timedelta

from bursary.lib import leases

Clock = Callable[[], datetime]
"""Returns the present instant, aware, in UTC."""


def renewing(row: leases.LeasedRow, *, clock: Clock, lease: timedelta) -> Clock:
    """Return a clock that, when it is read, renews a claimed row's lease if a third of it has passed.

    So a long run keeps its lease as long as it goes on reading the time.
    """
    renewed = clock()

    def tick() -> datetime:
        nonlocal renewed
        now = clock()
        if now - renewed >= lease / 3:
            renewed = now
            leases.renew(row, now=now, lease=lease)
        return now

    return tick
