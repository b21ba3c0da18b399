"""Bounds on time, and waits, that hold on a machine that is busy with much else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Protocol

AT_ONCE = 20.0
"""Seconds. An idle machine needs less than one; what hangs in a test does so for a minute or longer."""
PATIENCE = 600.0
"""Seconds for what happens in another process or thread."""


@contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    """Require what is inside to take no longer."""
    began = monotonic()
    yield
    assert monotonic() - began < seconds


class Process(Protocol):
    """A process that runs as long as `poll()` returns None."""

    def poll(self) -> int | None: ...


def until(
    happens: Callable[[], object], process: Process | None = None, *, seconds: float = PATIENCE
) -> None:
    """Wait until something has happened; where a process does it, as long as that runs."""
    ends = monotonic() + seconds
    while not happens():
        assert process is None or process.poll() is None, "the process ended"
        assert monotonic() < ends, "waited too long"
        sleep(0.05)
