"""A remote service on loopback, and clients for it."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from bursary.upstream.client import Client
from bursary.upstream.token import ClientCredentials
from tests.enterprise_catalog.server import CLIENT_ID, CLIENT_SECRET, Upstream, enterprise_catalog

HURRIED = timedelta(seconds=0.4)
"""For what is given up at its deadline."""
COURSE = {"key": "X+1", "content_type": "course", "title": "Plus and minus", "active": True}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with enterprise_catalog([COURSE]) as running:
        yield running


@pytest.fixture
def client(upstream: Upstream) -> Callable[..., Client]:
    """Make clients of the service; arguments replace the ordinary ones."""

    def make(**changes: object) -> Client:
        credentials = ClientCredentials(upstream.url, CLIENT_ID, CLIENT_SECRET)
        options = {"credentials": credentials, "deadline": timedelta(seconds=5)} | changes
        return Client(str(options.pop("base_url", upstream.url)), **options)  # type: ignore[arg-type]  # as given

    return make
