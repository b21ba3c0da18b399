"""How many connections each process of the server has, in memory that they share (decision 0026)."""

import mmap
import struct

_COUNT = struct.Struct("i")
_NONE = -1  # the place is free, or its process accepts no more


class ConnectionCounts:
    """The connections of each process. Made before the processes are forked; each writes its own place."""

    def __init__(self, places: int) -> None:
        self._memory = mmap.mmap(-1, places * _COUNT.size)  # anonymous: inherited, never a file
        self._places = range(places)
        for place in self._places:
            self.close(place)

    def open(self) -> int:
        """Return a free place, with no connections yet. In the parent alone, which forks one by one."""
        place = next(place for place in self._places if self[place] == _NONE)
        self.write(place, 0)
        return place

    def close(self, place: int) -> None:
        """Leave the place: its process has ended, or accepts no more."""
        self.write(place, _NONE)

    def write(self, place: int, count: int) -> None:
        """Write the connections of a process. Four bytes at once, so that no reader sees half of them."""
        _COUNT.pack_into(self._memory, place * _COUNT.size, count)

    def least(self) -> int:
        """Return the connections of the process that has the fewest; 0 where none accepts."""
        return min((count for place in self._places if (count := self[place]) != _NONE), default=0)

    def __getitem__(self, place: int) -> int:
        count: int = _COUNT.unpack_from(self._memory, place * _COUNT.size)[0]
        return count
