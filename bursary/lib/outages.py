"""An outage of the database or the disk in the log: a line when it begins, and one when it has passed.

All threads of a process and the processes that it forks share one record of the outage. Otherwise each of
them, as it polls, would log the same error every few seconds.
"""

import logging
import mmap
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bursary.lib import logs
from bursary.lib.database_errors import is_outage

QUIET_SECONDS = 30.0
"""An outage has passed after so long without an error. One success is not enough: a full disk can be read."""

_TIMES = struct.Struct("dd")
"""When the outage began, and its last error: monotonic, in seconds; 0 without an outage."""
# Shared memory without a lock, which a killed process would keep. At worst, two processes log the same line.
_shared = mmap.mmap(-1, _TIMES.size)


@contextmanager
def errors_logged(what: str, *, log: logging.Logger) -> Iterator[None]:
    """Log an error raised inside as `what`, and continue. Of an outage, only its first error and its end."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # what polls must go on polling; it is logged
        began, _last = _TIMES.unpack_from(_shared)
        if not is_outage(error):
            logs.log_failure(what, error, log=log)
            return
        _TIMES.pack_into(_shared, 0, began or time.monotonic(), time.monotonic())
        if not began:
            logs.log_failure(what, error, log=log)
    else:
        began, last = _TIMES.unpack_from(_shared)
        if began and time.monotonic() >= last + QUIET_SECONDS:
            reset()
            minutes = (time.monotonic() - began) / 60
            log.warning("The database and the disk work again, after %.0f minutes.", minutes)


def reset() -> None:
    """Forget the outage: the next error is logged as the first of another."""
    _TIMES.pack_into(_shared, 0, 0.0, 0.0)
