"""How many connections each process of the server has, in memory that they share (decision 0026)."""

import math
import mmap
import struct

_ENTRY = struct.Struct("id")  # connections; when they were written, in seconds of the monotonic clock
_NONE = -1  # the place is free, or its process accepts no more
_NEVER = -math.inf
HANGS_SECONDS = 3  # without a turn of its loop, which takes a second at most


class ConnectionCounts:
    """The connections of each process. Made before the processes are forked; each writes its own place."""

    def __init__(self, places: int) -> None:
        self._memory = mmap.mmap(-1, places * _ENTRY.size)  # anonymous: inherited, never a file
        self._places = range(places)
        for place in self._places:
            self.close(place)

    def open(self) -> int:
        """Return a free place, of a process yet to serve. In the parent alone, which forks one by one."""
        place = next(place for place in self._places if self[place] == _NONE)
        self.write(place, 0, now=_NEVER)
        return place

    def close(self, place: int) -> None:
        """Leave the place: its process has ended, or accepts no more."""
        self.write(place, _NONE, now=_NEVER)

    def write(self, place: int, count: int, *, now: float) -> None:
        """Write the connections of a process, at `now` of the monotonic clock, which all processes share."""
        _ENTRY.pack_into(self._memory, place * _ENTRY.size, count, now)

    def least(self, *, now: float) -> int | None:
        """Return the connections of the process with the fewest; None where each hangs or accepts no more."""
        entries = (_ENTRY.unpack_from(self._memory, place * _ENTRY.size) for place in self._places)
        fresh = (count for count, written in entries if count != _NONE and now - written < HANGS_SECONDS)
        return min(fresh, default=None)

    def __getitem__(self, place: int) -> int:
        count: int = _ENTRY.unpack_from(self._memory, place * _ENTRY.size)[0]
        return count
