"""The interface of every catalog, and the catalog at an address."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from bursary.catalog.http_source import HttpCatalog
from bursary.catalog.jsonl_source import FolderCatalog
from bursary.catalog.records import KeysToSkip
from bursary.lib.breaker import BreakerState
from bursary.upstream.client import Client
from bursary.upstream.token import ClientCredentials


class CatalogSource(Protocol):
    """A catalog. It returns decoded JSON values, for `parser.parse`.

    Both methods raise CatalogUnavailable if the catalog does not answer, and no other error for that.
    """

    @property
    def name(self) -> str:
        """A short, stable word for this kind of source, which is stored with its content."""

    def pages(
        self, catalog_uuid: UUID, *, size: int, skip: KeysToSkip | None = None
    ) -> Iterator[Sequence[object]]:
        """Stream the whole listing in batches of at most `size` elements, in no guaranteed order.

        An element is a decoded JSON value, UnreadableElement or Unfetched. A record may appear twice, and a
        missing one may still exist: fetch it by key. A catalog that lists keys before it fetches records
        passes some hundreds of keys at a time to `skip`, and does not fetch the keys that this returns.
        """

    def fetch(
        self, catalog_uuid: UUID, *, keys: Sequence[str], timeout: timedelta | None = None
    ) -> Sequence[object]:
        """Return the records with any of the keys; a run's key returns its course as well.

        Unknown keys are missing, without an error. A key is Unfetched if the catalog fails for its record, or
        does not answer in time. Match the answer by key, never by position or number. `timeout` limits the
        whole call. Raises CatalogUnavailable if no request is answered.
        """


@dataclass(frozen=True, slots=True)
class CatalogCredentials:
    """Client credentials for a catalog over HTTP, and the deadline of one request."""

    oauth_url: str
    client_id: str
    client_secret: str = field(repr=False)
    deadline: timedelta


def open_source(url: str, *, credentials: CatalogCredentials | None = None) -> CatalogSource:
    """Return the catalog at an address: a file, a folder, or enterprise-catalog.

    `file:///srv/courses.jsonl` serves every catalog; `file:///srv/catalogs/` holds `<catalog uuid>.jsonl`;
    `https://catalog.example.org` is read with `credentials`. Nothing is opened yet. Raises ValueError for an
    address of another kind, and for HTTP without `credentials`.
    """
    address = urlsplit(url)
    if address.scheme in ("http", "https"):
        if credentials is None:
            raise ValueError("A catalog over HTTP is asked with credentials, and there are none.")
        of_client = ClientCredentials(credentials.oauth_url, credentials.client_id, credentials.client_secret)
        return HttpCatalog(Client(url, credentials=of_client, deadline=credentials.deadline))
    path = Path(unquote(address.path))
    if address.scheme != "file" or address.netloc not in ("", "localhost") or not path.is_absolute():
        raise ValueError(
            "A catalog's address is file:///path/to/courses.jsonl, file:///path/to/folder/ or "
            f"https://host/, not one that begins with {address.scheme or 'nothing'}:."
        )
    return FolderCatalog(path)


def breaker_state(source: CatalogSource) -> BreakerState | None:
    """Return the state of this process's breaker for the catalog; None for a catalog that is a file."""
    return source.remote.breaker.state if isinstance(source, HttpCatalog) else None
