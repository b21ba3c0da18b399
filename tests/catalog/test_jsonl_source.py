import json
import os
from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any
from uuid import UUID

import pytest

from bursary.catalog import jsonl_source
from bursary.catalog.jsonl_source import FolderCatalog
from bursary.catalog.parser import Content, UnusableRecord, parse
from bursary.catalog.records import CatalogUnavailable, UnreadableElement

Record = dict[str, Any]

CATALOG = UUID("7467c9d2-433c-4f7e-ba2e-c5c7798527b2")


def test_pages_hold_every_record_in_order_and_no_more_than_asked(data: Path, courses: list[Record]) -> None:
    pages = list(FolderCatalog(data / "catalog-courses.jsonl").pages(CATALOG, size=30))
    assert [len(page) for page in pages] == [30] * 6 + [20]
    assert [record for page in pages for record in page] == courses


def test_in_a_folder_each_catalog_has_its_own_record_of_a_course(data: Path, tmp_path: Path) -> None:
    served = {UUID(int=1): "restricted-ordinary", UUID(int=2): "restricted-allowed"}
    for catalog, name in served.items():
        copy(data / "cases" / f"{name}.jsonl", tmp_path / f"{catalog}.jsonl")
    folder = FolderCatalog(tmp_path)
    for catalog, runs in ((UUID(int=1), ["PUB"]), (UUID(int=2), ["PUB", "PRIV"])):
        [asked] = [parse(record) for record in folder.fetch(catalog, keys=["PrivX+1"])]
        [listed] = [
            content
            for page in folder.pages(catalog, size=10)
            for content in map(parse, page)
            if content.content_key == "PrivX+1"
        ]
        assert asked == listed
        assert [run.content_key for run in asked.runs] == [f"course-v1:PrivX+1+{run}" for run in runs]
        by_run = folder.fetch(catalog, keys=["course-v1:PrivX+1+PRIV"])
        assert len(by_run) == ("PRIV" in runs)


def test_a_page_holds_at_least_one_record(data: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        FolderCatalog(data / "catalog-courses.jsonl").pages(CATALOG, size=0)


def test_an_empty_file_has_no_pages(tmp_path: Path) -> None:
    assert list(FolderCatalog(written(tmp_path, b"")).pages(CATALOG, size=10)) == []


def test_a_poisoned_line_does_not_stop_the_file(tmp_path: Path, a_course: Callable[..., Record]) -> None:
    lines = [
        b"\xef\xbb\xbf" + as_line(a_course(key="X+1")),  # a byte order mark
        b"{'not': 'json'}",
        b"  \t ",
        as_line(a_course(key="X+2")) + b"\r",
        b'{"content_type": "course", "key": "X+\xff"}',
        b"[" * 100_000,
        b"1" * 5_000,
        as_line({"content_type": "video", "key": "X+3"}),
        as_line(a_course(key="X+4")),  # without a line's end
    ]
    catalog = FolderCatalog(written(tmp_path, b"\n".join(lines)))
    outcomes = [outcome(element) for page in catalog.pages(CATALOG, size=2) for element in page]
    assert outcomes == [
        "X+1",
        UnreadableElement(2, "not_json"),
        "X+2",
        UnreadableElement(5, "not_utf8"),
        UnreadableElement(6, "not_json"),
        UnreadableElement(7, "not_json"),
        "unknown_content_type",
        "X+4",
    ]
    assert found(catalog, "X+1", "X+4") == ["X+1", "X+4"]


def test_a_line_too_long_is_passed_over_without_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_course: Callable[..., Record]
) -> None:
    record = as_line(a_course(key="X+1"))
    monkeypatch.setattr(jsonl_source, "MAX_LINE_BYTES", len(record) + 1)
    lines = [record, b" " * len(record) + b"7", b"x" * (len(record) * 3), record, b"y" * len(record) * 2]
    catalog = FolderCatalog(written(tmp_path, b"\n".join(lines)))
    [page] = catalog.pages(CATALOG, size=10)
    too_long = [UnreadableElement(number, "line_too_long") for number in (2, 3, 5)]
    assert [outcome(element) for element in page] == ["X+1", too_long[0], too_long[1], "X+1", too_long[2]]
    assert found(catalog, "X+1") == ["X+1", "X+1"]


def test_the_hostile_file_yields_all_but_the_unknown_type(data: Path) -> None:
    [page] = FolderCatalog(data / "catalog-hostile.jsonl").pages(CATALOG, size=100)
    outcomes = [outcome(element) for element in page]
    assert outcomes.count("unknown_content_type") == 1
    assert len(outcomes) == 16


def test_records_are_found_by_course_key_and_by_run_key(data: Path, courses: list[Record]) -> None:
    catalog = FolderCatalog(data / "catalog-courses.jsonl")
    run_key = courses[150]["course_runs"][-1]["key"]
    records = catalog.fetch(CATALOG, keys=[run_key, "Unknown+1", courses[7]["key"], courses[7]["key"]])
    assert records == [courses[7], courses[150]]
    assert catalog.fetch(CATALOG, keys=[]) == []
    assert catalog.fetch(CATALOG, keys=["Unknown+1"]) == []


def test_every_record_that_carries_the_key_is_found(tmp_path: Path, a_course: Callable[..., Record]) -> None:
    course = a_course()
    run: Record = {"content_type": "courserun", "key": course["course_runs"][0]["key"]}
    catalog = FolderCatalog(written(tmp_path, b"\n".join(map(as_line, [course, run]))))
    assert list(catalog.fetch(CATALOG, keys=[run["key"]])) == [course, run]


def test_a_changed_file_is_indexed_anew(tmp_path: Path, a_course: Callable[..., Record]) -> None:
    path = written(tmp_path, as_line(a_course(key="X+1")))
    catalog = FolderCatalog(path)
    assert found(catalog, "X+1", "X+2") == ["X+1"]
    replacement = tmp_path / "new"
    replacement.write_bytes(b"\n".join(as_line(a_course(key=key)) for key in ("X+2", "X+1")))
    replacement.replace(path)
    assert found(catalog, "X+1", "X+2") == ["X+2", "X+1"]


def test_a_file_overwritten_in_place_never_answers_with_another_record(
    tmp_path: Path, a_course: Callable[..., Record]
) -> None:
    path = written(tmp_path, as_line(a_course(key="X+1")))
    catalog = FolderCatalog(path)
    assert found(catalog, "X+1") == ["X+1"]
    before = path.stat()
    path.write_bytes(as_line(a_course(key="X+2")))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found(catalog, "X+1") == []


def test_a_folder_serves_a_file_for_each_catalog(tmp_path: Path, a_course: Callable[..., Record]) -> None:
    (tmp_path / f"{CATALOG}.jsonl").write_bytes(as_line(a_course(key="X+1")))
    catalog = FolderCatalog(tmp_path)
    assert found(catalog, "X+1") == ["X+1"]
    with pytest.raises(CatalogUnavailable, match="No such file"):
        catalog.fetch(UUID(int=0), keys=["X+1"])


def test_a_missing_file_is_an_unavailable_catalog(tmp_path: Path) -> None:
    catalog = FolderCatalog(tmp_path / "missing.jsonl")
    with pytest.raises(CatalogUnavailable) as refused:
        next(catalog.pages(CATALOG, size=1))
    assert refused.value.reason == "catalog_unavailable"
    with pytest.raises(CatalogUnavailable):
        catalog.fetch(CATALOG, keys=["X+1"])


def test_a_listing_begun_is_finished_although_the_file_was_replaced(
    tmp_path: Path, a_course: Callable[..., Record]
) -> None:
    path = written(tmp_path, b"\n".join(as_line(a_course(key=f"X+{number}")) for number in range(50)))
    pages = FolderCatalog(path).pages(CATALOG, size=1)
    seen = [outcome(next(pages)[0])]
    (tmp_path / "new").write_bytes(b"")
    (tmp_path / "new").replace(path)
    seen += [outcome(page[0]) for page in pages]
    assert seen == [f"X+{number}" for number in range(50)]


def written(folder_path: Path, content: bytes) -> Path:
    path = folder_path / "courses.jsonl"
    path.write_bytes(content)
    return path


def as_line(record: Record) -> bytes:
    return json.dumps(record).encode()


def found(catalog: FolderCatalog, *keys: str) -> list[str]:
    return [content.content_key for content in map(parse, catalog.fetch(CATALOG, keys=keys))]


def outcome(element: object) -> object:
    """A record's key; or what stands in its place, or why it was refused."""
    try:
        content: Content = parse(element)
    except UnusableRecord as refused:
        return element if isinstance(element, UnreadableElement) else refused.reason
    return content.content_key
