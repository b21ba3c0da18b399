"""Where content comes from: what every catalog can be asked, and which one an address names."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from bursary.catalog.answers import CatalogUnavailable, Unreadable
from bursary.catalog.folder import FolderCatalog

__all__ = ["CatalogSource", "CatalogUnavailable", "Unreadable", "open_source"]


class CatalogSource(Protocol):
    """A catalog. Its answers are raw: decoded JSON values, for `schema.parse`.

    Both questions raise `CatalogUnavailable`.
    """

    @property
    def name(self) -> str:
        """A short, stable word for this kind of source, stored beside what came from it."""

    def pages(self, catalog_uuid: UUID, *, size: int) -> Iterator[Sequence[object]]:
        """Stream the whole listing in batches of at most `size` elements, in no guaranteed order.

        An element is a decoded JSON value, or `Unreadable`. A record may appear twice, and a missing one may
        still exist: ask for it by key.
        """

    def fetch(self, catalog_uuid: UUID, *, keys: Sequence[str]) -> Sequence[object]:
        """Return the records that carry any of the keys; a run's key returns its course as well.

        Unknown keys are silently missing. Match the answer by key, never by position or count.
        """


def open_source(url: str) -> CatalogSource:
    """Return the catalog at an address: `file:///srv/courses.jsonl`, or `file:///srv/catalogs/`.

    A file serves every catalog; a folder serves `<catalog uuid>.jsonl`. Nothing is opened yet. Raises
    ValueError for an address of another kind.
    """
    address = urlsplit(url)
    path = Path(unquote(address.path))
    if address.scheme != "file" or address.netloc not in ("", "localhost") or not path.is_absolute():
        raise ValueError(
            "A catalog's address is file:///path/to/courses.jsonl or file:///path/to/folder/, "
            f"not one that begins with {address.scheme or 'nothing'}:."
        )
    return FolderCatalog(path)
