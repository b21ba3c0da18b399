"""Tolerant reading of one JSON object: what cannot be used reads as unknown, and leaves a note."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Self, TypeVar
from uuid import UUID

from bursary.catalog.dates import NotADate, instant
from bursary.catalog.payload import storable_text
from bursary.catalog.prices import NotAPrice, cents

MAX_KEY = 255  # characters, as upstream's own column
MAX_SLUG = 64  # characters; upstream's longest has 22
MAX_NOTES = 50  # a record may be wrong in a thousand places; fifty tell the story
MAX_COUNT = 32_767  # what a small integer column holds

T = TypeVar("T")

_KEY = re.compile(rf"[^\s\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_KEY}}}")
_QUOTED = 60  # characters of an unusable value that a note repeats


def is_key(value: object) -> bool:
    """Whether the value can identify content: 1 to 255 characters, none of them blank or unprintable.

    Nothing is repaired in a key, not even a space at its end: two keys would become one.
    """
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


class Fields:
    """One JSON object of upstream's, its values asked for by name and type.

    A missing or null value reads as unknown ("" or None) without a note. `path` names the object in notes.
    """

    def __init__(self, raw: dict[str, object], *, notes: list[str] | None = None, path: str = "") -> None:
        self.raw = raw
        self.notes: list[str] = [] if notes is None else notes
        self.path = path

    def note(self, sentence: str) -> None:
        if len(self.notes) < MAX_NOTES:
            self.notes.append(sentence)

    def key(self, name: str) -> str:
        """A content key, or ""."""
        value = self.raw.get(name)
        if isinstance(value, str) and is_key(value):
            return value
        return self._unknown(name, "is not a key", "")

    def text(self, name: str) -> str:
        """Text of any length, less the characters no database stores."""
        value = self.raw.get(name)
        return storable_text(value) if isinstance(value, str) else self._unknown(name, "is not text", "")

    def slug(self, name: str) -> str:
        """A short name for machines, at most `MAX_SLUG` characters."""
        value = self.text(name)
        return value if len(value) <= MAX_SLUG else self._unknown(name, "is too long", "")

    def flag(self, name: str) -> bool | None:
        value = self.raw.get(name)
        return value if isinstance(value, bool) else self._unknown(name, "is neither true nor false", None)

    def count(self, name: str) -> int | None:
        """A whole number from 0 to `MAX_COUNT`."""
        value = self.raw.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
            return value
        return self._unknown(name, "is not a count", None)

    def instant(self, name: str) -> datetime | None:
        """An aware UTC datetime; see `dates.instant`."""
        return self._read(name, instant)

    def cents(self, name: str) -> int | None:
        """A price in cents; see `prices.cents`. None is unknown, 0 is what upstream wrote as 0."""
        return self._read(name, cents)

    def uuid(self, name: str) -> UUID | None:
        return self._read(name, _uuid)

    def child(self, name: str) -> Self | None:
        """The object under that name, if it is one."""
        value = self.raw.get(name)
        if isinstance(value, dict):
            return self._below(value, name)
        return self._unknown(name, "is not an object", None)

    def children(self, name: str) -> Iterator[Self]:
        """The objects of the list under that name, in upstream's order, passing over what is not one."""
        value = self.raw.get(name)
        if not isinstance(value, list):
            self._unknown(name, "is not a list", None)
            return
        for position, item in enumerate(value):
            if isinstance(item, dict):
                yield self._below(item, f"{name}[{position}]")
            else:
                self.note(f"{self._named(name)}[{position}] {_brief(item)} is not an object")

    def _below(self, raw: dict[str, object], name: str) -> Self:
        return type(self)(raw, notes=self.notes, path=self._named(name))

    def _named(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _read(self, name: str, reader: Callable[[object], T]) -> T | None:
        value = self.raw.get(name)
        if value is None:
            return None
        try:
            return reader(value)
        except (NotADate, NotAPrice, _NotAUuid) as exc:
            return self._unknown(name, str(exc), None)

    def _unknown(self, name: str, complaint: str, unknown: T) -> T:
        value = self.raw.get(name)
        if value is not None:
            self.note(f"{self._named(name)} {_brief(value)} {complaint}")
        return unknown


class _NotAUuid(ValueError):
    pass


def _uuid(value: object) -> UUID:
    try:
        return UUID(value if isinstance(value, str) else "")
    except ValueError as exc:
        raise _NotAUuid("is not a uuid") from exc


def _brief(value: object) -> str:
    match value:
        case str():
            return repr(value[:_QUOTED]) + ("…" if len(value) > _QUOTED else "")
        case dict():
            return "(an object)"
        case list():
            return "(a list)"
        case int() if value.bit_length() > 128:
            return "(an enormous number)"
        case _:
            return repr(value)
