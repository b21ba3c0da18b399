"""Each path that the parser names is where it reads: change the value there, and the field changes."""

import re
from copy import deepcopy
from typing import Any

import pytest

from bursary.catalog import parser
from bursary.catalog.parser import Content
from tests.replica.listing import COURSE, RUNS, a_course, a_run, recorded

LIES: dict[str, object] = {
    "uuid": "00000000-0000-4000-8000-000000000001",
    "title": "Another title",
    "course_type": "another-type",
    "image_url": "https://images.example/another.png",
    "start_date": "2031-01-01T00:00:00Z",
    "end_date": "2031-01-02T00:00:00Z",
    "enroll_start": "2031-01-03T00:00:00Z",
    "enroll_by": "2031-01-04T00:00:00Z",
    "price_cents": 4321.0,
    "pacing": "another",
    "weeks_to_complete": 77,
}


def write(record: Any, path: str, value: object) -> None:
    """Write at a path such as `course_runs[KEY].title`."""
    steps = [step for step in re.split(r"[.\[\]]+(?![^\[]*\])|\[|\]\.?", path) if step]
    for step in steps[:-1]:
        if isinstance(record, list):
            record = next(one for one in record if one["key"] == step)
        else:
            record = record[step]
    record[steps[-1]] = value


def of(content: Content, key: str) -> Content:
    return next(one for one in (content, *content.runs) if one.content_key == key)


@pytest.mark.parametrize("column", LIES)
@pytest.mark.parametrize("key", [COURSE, RUNS[2]])
def test_the_value_at_the_named_path_is_what_the_parser_reads(key: str, column: str) -> None:
    record = deepcopy(a_course(image={"src": "https://images.example/its-own.png"}))
    one = of(parser.parse(record), key)
    paths = parser.paths(record, key)

    write(record, paths[column], LIES[column])

    assert getattr(of(parser.parse(record), key), column) != getattr(one, column)


def test_a_run_served_apart_is_read_by_its_own_names() -> None:
    paths = parser.paths(a_run(), RUNS[2])
    assert (paths["enroll_by"], paths["parent"]) == ("enrollment_end", "parent_content_key")


def test_a_run_that_upstream_did_not_normalize_is_read_by_its_own_dates() -> None:
    paths = parser.paths(a_course(normalized_metadata_by_run={}), RUNS[2])
    assert paths["start_date"] == f"course_runs[{RUNS[2]}].start"
    assert paths["price_cents"] == f"course_runs[{RUNS[2]}], the price that it lists"


def test_every_recorded_record_has_paths_with_its_links_and_without() -> None:
    for name in ("courses", "other-types", "thin-courses"):
        for record in recorded(name):
            for one in (content := parser.parse(record), *content.runs):
                assert parser.paths(content.payload, one.content_key) == one.paths
                assert one.paths["title"]


def test_a_program_is_active_by_its_status_and_an_unknown_key_has_no_paths() -> None:
    program = next(record for record in recorded("other-types") if record["content_type"] == "program")
    assert parser.paths(program, program["uuid"])["active"] == "status"
    assert parser.paths(program, "X+1") == parser.paths({}, "X+1") == {}
