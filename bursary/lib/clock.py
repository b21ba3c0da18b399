"""Time as an argument: the domain has no clock of its own."""

from collections.abc import Callable
from datetime import datetime, timedelta

from bursary.lib import leases

Clock = Callable[[], datetime]
"""Returns the present instant, aware, in UTC."""


def renewing(row: leases.LeasedRow, *, clock: Clock, lease: timedelta) -> Clock:
    """Return a clock that renews the lease of a claimed row whenever a third of it has passed.

    A long run reads the time now and then, and so shows that its worker lives.
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
