"""A catalog in JSONL files, with one record in each line: the default, and the source of demos and tests."""

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
from bursary.catalog.records import CatalogUnavailable, KeysToSkip, UnreadableElement
from bursary.lib.batches import chunks

MAX_LINE_BYTES = 8 * 1024 * 1024  # upstream documents records of nearly 1 MB
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    offset: int
    text: bytes | None
    """None for a line longer than `MAX_LINE_BYTES`."""


class _Index:
    """An index of the lines by key: pairs of a key's hash and a line's offset.

    It has 16 bytes for each key, and is scanned: that takes some 15 ms for a file of 100,000 courses.
    """

    def __init__(self, version: tuple[int, ...], file: BinaryIO) -> None:
        self.version = version
        self._hashes, self._offsets = array("q"), array("q")
        for line in _lines(file):
            for key in parser.content_keys(_decoded(line)):
                self._hashes.append(hash(key))
                self._offsets.append(line.offset)

    def offsets(self, keys: Iterable[str]) -> list[int]:
        """Return the offsets of the lines that may have these keys, in the file's order."""
        asked = set(map(hash, keys))
        pairs = zip(self._hashes, self._offsets, strict=True)
        return sorted({offset for found, offset in pairs if found in asked})


class FolderCatalog:
    """One file that serves every catalog, or a folder that serves `<catalog uuid>.jsonl`.

    In a folder, two catalogs may have different records of one key: the course with the restricted runs that
    one of them allows, and the course without. Files are read by line, so that memory is limited by the batch
    and the index of keys. Replace a file by renaming another over it, so that a running listing still reads
    the old one to its end.
    """

    name: Final = "folder"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._indexes: dict[Path, _Index] = {}
        self._indexing = Lock()

    def pages(
        self, catalog_uuid: UUID, *, size: int, skip: KeysToSkip | None = None
    ) -> Iterator[Sequence[object]]:
        """Stream the listing in the file's order, and skip nothing; see `CatalogSource`."""
        if size < 1:
            raise ValueError("A page holds at least one record.")
        return self._pages(catalog_uuid, size=size)

    def _pages(self, catalog_uuid: UUID, *, size: int) -> Iterator[Sequence[object]]:
        with _opened(self._file(catalog_uuid)) as file:
            yield from chunks(map(_decoded, _lines(file)), size)

    def fetch(
        self, catalog_uuid: UUID, *, keys: Sequence[str], timeout: timedelta | None = None
    ) -> Sequence[object]:
        """Return the records with any of the keys, in the file's order; see `CatalogSource`.

        `timeout` is ignored, because reading a file is fast.
        """
        if not keys:
            return []
        path, asked = self._file(catalog_uuid), set(keys)
        with _opened(path) as file:
            offsets = self._index(path, file).offsets(asked)
            found = [_decoded(line) for offset in offsets for line in islice(_lines(file, start=offset), 1)]
        # Another key may have the same hash, and the file may have been overwritten in place.
        return [record for record in found if not asked.isdisjoint(parser.content_keys(record))]

    def _file(self, catalog_uuid: UUID) -> Path:
        in_a_folder = self._path.is_dir() or not (self._path.exists() or self._path.suffix)
        return self._path / f"{catalog_uuid}.jsonl" if in_a_folder else self._path

    def _index(self, path: Path, file: BinaryIO) -> _Index:
        """Return the open file's index. It is built at first use, and again after the file has changed."""
        status = os.fstat(file.fileno())
        version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        with self._indexing:
            index = self._indexes.get(path)
            if index is None or index.version != version:
                index = self._indexes[path] = _Index(version, file)
        return index


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        raise CatalogUnavailable(f"The catalog's file {path} cannot be read: {exc.strerror}.") from exc


def _lines(file: BinaryIO, *, start: int = 0) -> Iterator[_Line]:
    """Yield the lines that are not blank, numbered from 1 at `start`. Holds one line at a time."""
    number, offset = 0, file.seek(start)
    while text := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        begin, offset = offset, offset + len(text)
        if len(text) > MAX_LINE_BYTES:
            rest = text
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
                offset += len(rest)
            yield _Line(number, begin, None)
        elif text.strip():
            yield _Line(number, begin, text.removeprefix(_BYTE_ORDER_MARK) if begin == 0 else text)


def _decoded(line: _Line) -> object:
    if line.text is None:
        return UnreadableElement(line.number, "line_too_long")
    try:
        return json.loads(line.text.decode())
    except UnicodeDecodeError:
        return UnreadableElement(line.number, "not_utf8")
    except (ValueError, RecursionError):  # RecursionError: deep nesting
        return UnreadableElement(line.number, "not_json")
