"""The number of connections of each server process, in shared memory (decision 0026)."""

import math
import mmap
import struct

_ENTRY = struct.Struct("id")  # the count; when it was written, in seconds of the monotonic clock
_NONE = -1  # no process has the number, or its process accepts no more connections
_NEVER = -math.inf
HANGS_SECONDS = 3  # a process hangs if it has not written for so long; its loop writes every second


class ConnectionCounts:
    """The number of connections of each process. Made before the processes are forked; each has a number."""

    def __init__(self, limit: int) -> None:
        self._memory = mmap.mmap(-1, limit * _ENTRY.size)  # anonymous: inherited, never a file
        self._numbers = range(limit)
        for number in self._numbers:
            self.close(number)

    def open(self) -> int:
        """Return a free number for a new process. Called only by the parent, which forks one at a time."""
        number = next(number for number in self._numbers if self[number] == _NONE)
        self.write(number, 0, now=_NEVER)
        return number

    def close(self, number: int) -> None:
        """Free the number: its process has ended, or accepts no more connections."""
        self.write(number, _NONE, now=_NEVER)

    def write(self, number: int, count: int, *, now: float) -> None:
        """Write the count of a process at `now` on the monotonic clock, which all processes share."""
        _ENTRY.pack_into(self._memory, number * _ENTRY.size, count, now)

    def least(self, *, now: float) -> int | None:
        """Return the lowest count; None if every process hangs or accepts no more connections."""
        entries = (_ENTRY.unpack_from(self._memory, number * _ENTRY.size) for number in self._numbers)
        fresh = (count for count, written in entries if count != _NONE and now - written < HANGS_SECONDS)
        return min(fresh, default=None)

    def __getitem__(self, number: int) -> int:
        count: int = _ENTRY.unpack_from(self._memory, number * _ENTRY.size)[0]
        return count
