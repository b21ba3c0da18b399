"""A catalog in JSONL files, one record a line: the embedded default, the demo's, and the tests'."""

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final
from uuid import UUID

from bursary.catalog import parser
from bursary.catalog.answers import CatalogUnavailable, Known, UnreadableElement

MAX_LINE_BYTES = 8 * 1024 * 1024  # upstream speaks of records near 1 MB
_BUCKETS = 1024  # of some hundred keys each, where the file has 100,000 records
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    offset: int
    text: bytes | None
    """None for a line beyond `MAX_LINE_BYTES`, which was passed over."""


class _Lines:
    """Where the lines that carry a key begin: a few, as a run may have a record of its own.

    Sixteen bytes a key, whatever its length: hashes and offsets, in buckets that are looked through. So it
    may name lines of another key, too.
    """

    def __init__(self) -> None:
        self._buckets = [(array("q"), array("q")) for _ in range(_BUCKETS)]

    def add(self, key: str, offset: int) -> None:
        hashes, offsets = self._buckets[hash(key) % _BUCKETS]
        hashes.append(hash(key))
        offsets.append(offset)

    def of(self, key: str) -> Iterator[int]:
        wanted = hash(key)
        hashes, offsets = self._buckets[wanted % _BUCKETS]
        return (offset for found, offset in zip(hashes, offsets, strict=True) if found == wanted)


@dataclass(frozen=True, slots=True)
class _Index:
    version: tuple[int, ...]
    lines: _Lines


class FolderCatalog:
    """One file that serves every catalog, or a folder that serves `<catalog uuid>.jsonl`.

    Reads a line at a time, so memory is bounded by the batch, not by the file. Replace a file by renaming
    another over it: a reader then finishes with the one it began.
    """

    name: Final = "folder"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._indexes: dict[Path, _Index] = {}
        self._indexing = Lock()

    def pages(
        self, catalog_uuid: UUID, *, size: int, known: Known | None = None
    ) -> Iterator[Sequence[object]]:
        """Stream the listing in the file's order, known or not; see `CatalogSource`."""
        if size < 1:
            raise ValueError("A page holds at least one record.")
        return self._pages(catalog_uuid, size=size)

    def _pages(self, catalog_uuid: UUID, *, size: int) -> Iterator[Sequence[object]]:
        with _opened(self._file(catalog_uuid)) as file:
            elements = map(_decoded, _lines(file))
            while page := list(islice(elements, size)):
                yield page

    def fetch(
        self,
        catalog_uuid: UUID,
        *,
        keys: Sequence[str],
        within: timedelta | None = None,
        alive: bool = False,
    ) -> Sequence[object]:
        """Return the records that carry any of the keys, in the file's order; see `CatalogSource`.

        A file does not keep anybody waiting: `within` is met without being watched.
        """
        if not keys:
            return []
        path = self._file(catalog_uuid)
        with _opened(path) as file:
            index = self._index(path, file)
            offsets = sorted({offset for key in keys for offset in index.lines.of(key)})
            records = list(_records(file, offsets))
        asked = set(keys)
        return [record for record in records if not asked.isdisjoint(parser.keys(record))]

    def _file(self, catalog_uuid: UUID) -> Path:
        in_a_folder = self._path.is_dir() or not (self._path.exists() or self._path.suffix)
        return self._path / f"{catalog_uuid}.jsonl" if in_a_folder else self._path

    def _index(self, path: Path, file: BinaryIO) -> _Index:
        """The index of the open file, built at the first question and again when the file has changed."""
        status = os.fstat(file.fileno())
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        with self._indexing:
            index = self._indexes.get(path)
            if index is None or index.version != version:
                index = self._indexes[path] = _Index(version, _offsets(file))
        return index


def _offsets(file: BinaryIO) -> _Lines:
    lines = _Lines()
    for line in _lines(file):
        for key in parser.keys(_decoded(line)):
            lines.add(key, line.offset)
    return lines


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        raise CatalogUnavailable(f"The catalog's file {path} cannot be read: {exc.strerror}.") from exc


def _lines(file: BinaryIO, *, start: int = 0) -> Iterator[_Line]:
    """The lines that are not blank, numbered from 1 at `start`. Never holds more than one of them."""
    number, offset = 0, file.seek(start)
    while text := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        begin, offset = offset, offset + len(text)
        if len(text) > MAX_LINE_BYTES:
            offset += 0 if text.endswith(b"\n") else _pass_over_line(file)
            yield _Line(number, begin, None)
        elif text.strip():
            yield _Line(number, begin, text.removeprefix(_BYTE_ORDER_MARK) if begin == 0 else text)


def _pass_over_line(file: BinaryIO) -> int:
    """Read to the line's end in bounded pieces; return how many bytes that were."""
    length = 0
    while rest := file.readline(MAX_LINE_BYTES):
        length += len(rest)
        if rest.endswith(b"\n"):
            break
    return length


def _records(file: BinaryIO, offsets: Iterable[int]) -> Iterator[object]:
    for offset in offsets:
        yield from map(_decoded, islice(_lines(file, start=offset), 1))


def _decoded(line: _Line) -> object:
    if line.text is None:
        return UnreadableElement(line.number, "line_too_long")
    try:
        return json.loads(line.text.decode())
    except UnicodeDecodeError:
        return UnreadableElement(line.number, "not_utf8")
    except (ValueError, RecursionError):  # RecursionError: ten thousand brackets are no record either
        return UnreadableElement(line.number, "not_json")
