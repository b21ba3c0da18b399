"""An outage of the database in the log of what polls: one line, and one when it has passed."""

import logging

import pytest
from django.db import OperationalError

from bursary.lib import outages

LOG = logging.getLogger("tests")


def attempt(error: Exception | None = None, *, what: str = "A round failed") -> None:
    with outages.errors_logged(what, log=LOG):
        if error:
            raise error


def test_an_outage_is_a_line_whatever_meets_it_and_its_end_is_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what in ("A round failed", "Tasks failed", "A round failed"):
        attempt(OperationalError(2003, "Can't connect"), what=what)
        attempt()  # of what reads only, on a full disk
    (begins,) = caplog.messages
    assert begins.startswith("A round failed: OperationalError: ")

    monkeypatch.setattr(outages, "QUIET_SECONDS", 0.0)
    attempt()
    attempt()
    assert caplog.messages[1:] == ["The database and the disk work again, after 0 minutes."]
    attempt(OperationalError(2003, "Can't connect"))
    assert len(caplog.messages) == 3


def test_an_error_of_the_program_is_logged_each_time(caplog: pytest.LogCaptureFixture) -> None:
    for _round in range(2):
        attempt(KeyError("key"))
    assert len(caplog.messages) == 2
