"""Sends by SMTP with a deadline that passes at a set point, however busy the machine is."""

import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from bursary.delivery import smtp_backend

AN_HOUR = 3600  # seconds; no send may take as long


@contextmanager
def cut_off_after_each(received: Sized) -> Iterator[None]:
    """Let the deadline of a send pass once its message is among those received, and not before."""

    def monotonic() -> float:
        return time.monotonic() + AN_HOUR * len(received)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtp_backend, "time", SimpleNamespace(monotonic=monotonic))
        yield
