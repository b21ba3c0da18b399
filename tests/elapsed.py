"""Bounds on time that hold on a machine that is busy with much else."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

AT_ONCE = 20.0
"""Seconds. An idle machine needs less than one; what hangs in a test does so for a minute or longer."""


@contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    """Require what is inside to take no longer."""
    began = monotonic()
    yield
    assert monotonic() - began < seconds
