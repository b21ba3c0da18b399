"""How many connections each process of the server has, in memory that they share (decision 0026)."""

import math
import mmap
import struct

_ENTRY = struct.Struct("id")  # connections; when they were written, in seconds of the monotonic clock
_NONE = -1  # no process has the number, or its process accepts no more
_NEVER = -math.inf
HANGS_SECONDS = 3  # without a turn of its loop, which takes a second at most


class ConnectionCounts:
    """The connections of each process. Made before the processes are forked; each has a number."""

    def __init__(self, most: int) -> None:
        self._memory = mmap.mmap(-1, most * _ENTRY.size)  # anonymous: inherited, never a file
        self._numbers = range(most)
        for number in self._numbers:
            self.close(number)

    def open(self) -> int:
        """Return a free number, for a process yet to serve. In the parent alone, which forks one by one."""
        number = next(number for number in self._numbers if self[number] == _NONE)
        self.write(number, 0, now=_NEVER)
        return number

    def close(self, number: int) -> None:
        """Free the number: its process has ended, or accepts no more."""
        self.write(number, _NONE, now=_NEVER)

    def write(self, number: int, count: int, *, now: float) -> None:
        """Write the connections of a process, at `now` of the monotonic clock, which all processes share."""
        _ENTRY.pack_into(self._memory, number * _ENTRY.size, count, now)

    def least(self, *, now: float) -> int | None:
        """Return the connections of the process with the fewest; None where each hangs or accepts no more."""
        entries = (_ENTRY.unpack_from(self._memory, number * _ENTRY.size) for number in self._numbers)
        fresh = (count for count, written in entries if count != _NONE and now - written < HANGS_SECONDS)
        return min(fresh, default=None)

    def __getitem__(self, number: int) -> int:
        count: int = _ENTRY.unpack_from(self._memory, number * _ENTRY.size)[0]
        return count
