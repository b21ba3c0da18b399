"""The service with a failing upstream, at a time of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from django.utils import timezone

from bursary.replica import refresh
from tests.faults.failing_upstream import Service, replicating
from tests.replica.listing import Record


@pytest.fixture
def replicate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """Return how to start a service upon an enterprise-catalog of these records."""

    def start(records: list[Record]) -> Service:
        service = running.enter_context(replicating(records))
        monkeypatch.setattr(refresh, "configured_source", service.configured_source)
        monkeypatch.setattr(timezone, "now", service.clock)
        return service

    with ExitStack() as running:
        yield start
