"""What a catalog may answer instead of a record: an element nobody can read, or nothing at all."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class UnreadableElement:
    """An element of a listing that is not JSON; it stands where the record should have stood.

    `position` counts lines (or elements) from 1; `reason` is `line_too_long`, `not_utf8` or `not_json`.
    `content_key` is the key that was asked for, where that is known.
    """

    position: int
    reason: str
    content_key: str = ""


@dataclass(frozen=True, slots=True)
class Unfetched:
    """A record that the catalog holds and does not hand over; it stands where the record should have stood.

    `content_key` is what was asked for, "" where the listing names none. `reason` is `upstream_error`,
    `too_large`, `not_served` or `key_unusable`; `detail` is for people.
    """

    content_key: str
    reason: str
    detail: str


class CatalogUnavailable(Exception):
    """The catalog did not answer: it cannot be reached, refuses us, or broke off while it was read."""

    reason: ClassVar[str] = "catalog_unavailable"


class CatalogTooSlow(CatalogUnavailable):
    """It did not answer all of a question in the time that whoever asks has. Of less it may."""


Known = Callable[[Sequence[str]], Collection[str]]
"""Of some keys, those that need no fetching."""
