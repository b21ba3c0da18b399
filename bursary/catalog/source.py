"""Where content comes from: what every catalog can be asked, and which one an address names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from bursary.catalog.answers import CatalogTooSlow, CatalogUnavailable, Known, Unfetched
from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.jsonl_source import FolderCatalog
from bursary.upstream.breaker import BreakerState
from bursary.upstream.client import Client
from bursary.upstream.token import Credentials

__all__ = [
    "Access",
    "CatalogSource",
    "CatalogTooSlow",
    "CatalogUnavailable",
    "Known",
    "Unfetched",
    "breaker_state",
    "open_source",
]


class CatalogSource(Protocol):
    """A catalog. Its answers are raw: decoded JSON values, for `schema.parse`.

    Both questions raise `CatalogUnavailable`.
    """

    @property
    def name(self) -> str:
        """A short, stable word for this kind of source, stored beside what came from it."""

    def pages(
        self, catalog_uuid: UUID, *, size: int, known: Known | None = None
    ) -> Iterator[Sequence[object]]:
        """Stream the whole listing in batches of at most `size` elements, in no guaranteed order.

        An element is a decoded JSON value, `Unreadable` or `Unfetched`. A record may appear twice, and a
        missing one may still exist: ask for it by key. A catalog that lists keys before it fetches records
        asks which are `known`, some hundreds at a time, and passes over those.
        """

    def fetch(
        self,
        catalog_uuid: UUID,
        *,
        keys: Sequence[str],
        within: timedelta | None = None,
        alive: bool = False,
    ) -> Sequence[object]:
        """Return the records that carry any of the keys; a run's key returns its course as well.

        Unknown keys are silently missing; one that the catalog fails on is `Unfetched`, as is one that there
        was no time for. Match the answer by key, never by position or count. `within` bounds the whole
        question: where nothing came within it `CatalogTooSlow` is raised. Without it, each request has the
        source's own deadline. Where the catalog answers for none of the keys it is unavailable; but it is the
        keys' fault if it answered others just before (`alive`).
        """


@dataclass(frozen=True, slots=True)
class Access:
    """How a catalog over HTTP is asked: as whom, and how long a request may take altogether."""

    oauth_url: str
    client_id: str
    client_secret: str = field(repr=False)
    deadline: timedelta


def open_source(url: str, *, access: Access | None = None) -> CatalogSource:
    """Return the catalog at an address: a file, a folder, or enterprise-catalog.

    `file:///srv/courses.jsonl` serves every catalog; `file:///srv/catalogs/` holds `<catalog uuid>.jsonl`;
    `https://catalog.example.org` is asked with `access`. Nothing is opened yet. Raises ValueError for an
    address of another kind, and for one over HTTP without `access`.
    """
    address = urlsplit(url)
    if address.scheme in ("http", "https"):
        return _over_http(url, access)
    path = Path(unquote(address.path))
    if address.scheme != "file" or address.netloc not in ("", "localhost") or not path.is_absolute():
        raise ValueError(
            "A catalog's address is file:///path/to/courses.jsonl, file:///path/to/folder/ or "
            f"https://host/, not one that begins with {address.scheme or 'nothing'}:."
        )
    return FolderCatalog(path)


def breaker_state(source: CatalogSource) -> BreakerState | None:
    """Return whether this process asks the catalog; None for one that is no remote service."""
    return source.remote.breaker.state if isinstance(source, HttpCatalog) else None


def _over_http(url: str, access: Access | None) -> HttpCatalog:
    if access is None:
        raise ValueError("A catalog over HTTP is asked with credentials, and there are none.")
    credentials = Credentials(access.oauth_url, access.client_id, access.client_secret)
    return HttpCatalog(Client(url, credentials=credentials, deadline=access.deadline))
