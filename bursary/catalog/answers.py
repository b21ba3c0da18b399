"""What a catalog may answer instead of a record: an element nobody can read, or nothing at all."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An element of a listing that is not JSON; it stands where the record should have stood.

    `position` counts lines (or elements) from 1; `reason` is `line_too_long`, `not_utf8` or `not_json`.
    """

    position: int
    reason: str


class CatalogUnavailable(Exception):
    """The catalog did not answer: its file is missing, cannot be opened, or broke off while it was read."""

    reason: ClassVar[str] = "catalog_unavailable"
