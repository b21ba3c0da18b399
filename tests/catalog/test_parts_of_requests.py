"""The parts of a request that fails: how they share its time, and when no more are asked for."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import cast

import pytest

from bursary.catalog import http_source
from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.records import CatalogUnavailable, Unfetched
from bursary.upstream.client import Client
from bursary.upstream.errors import Outage, UpstreamError, UpstreamUnavailable
from tests.enterprise_catalog.server import CATALOG

SILENT = UpstreamUnavailable(Outage.DEADLINE_EXCEEDED, "It is silent.")
BROKEN = UpstreamUnavailable(Outage.SERVER_ERROR, "It answered with 500.")
BUSY = UpstreamUnavailable(Outage.TOO_MANY_REQUESTS, "It asks for a pause.")


class Upstream:
    """An upstream with a clock of its own. On D it fails, as `failures` say, at the end of the time."""

    def __init__(self) -> None:
        self.failures: Iterator[UpstreamError] = iter(())
        self.asked: list[str] = []
        self.seconds = 0.0

    def get(
        self, _path: str, *, params: Sequence[tuple[str, str]], timeout: timedelta, bisecting: bool
    ) -> object:
        keys = [value for name, value in params if name == "content_keys"]
        self.asked.append("".join(keys))
        if "D" in keys:
            self.seconds += timeout.total_seconds()
            raise next(self.failures)
        return {"results": keys}


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    running = Upstream()
    monkeypatch.setattr(http_source, "monotonic", lambda: running.seconds)
    return running


def fetch(upstream: Upstream, keys: str, *failures: UpstreamError) -> list[object]:
    """Return the keys that upstream answers, and those that it does not in lower case."""
    upstream.failures = iter(failures)
    found = HttpCatalog(cast(Client, upstream)).fetch(CATALOG, keys=[*keys], timeout=timedelta(seconds=8))
    return [one.content_key.lower() if isinstance(one, Unfetched) else one for one in found]


def test_where_the_last_part_that_waits_takes_all_its_time_some_is_left_for_its_halves(
    upstream: Upstream,
) -> None:
    assert fetch(upstream, "ABCD", SILENT, SILENT, SILENT) == ["A", "B", "C", "d"]
    assert upstream.asked == ["ABCD", "AB", "CD", "C", "D"]


def test_after_an_answer_an_outage_ends_the_search_for_the_bad_record(upstream: Upstream) -> None:
    assert fetch(upstream, "ABCD", BROKEN, BUSY) == ["A", "B", "c", "d"]
    assert upstream.asked == ["ABCD", "AB", "CD"]


def test_an_outage_after_a_request_that_was_answered_loses_no_answer_and_ends_the_question(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_source, "MAX_KEYS", 2)

    assert fetch(upstream, "ABDEFG", BUSY) == ["A", "B", "d", "e", "f", "g"]
    assert upstream.asked == ["AB", "DE"]


def test_a_request_of_one_key_takes_all_the_time_that_there_is(upstream: Upstream) -> None:
    with pytest.raises(CatalogUnavailable):
        fetch(upstream, "D", SILENT)

    assert upstream.seconds == 8
