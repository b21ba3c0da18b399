"""Origins name the paths that the parser reads: change what stands there, and the field changes."""

import re
from copy import deepcopy
from typing import Any

import pytest

from bursary.catalog import parser
from bursary.catalog.origins import origins
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
def test_what_stands_at_the_named_path_is_what_the_parser_reads(key: str, column: str) -> None:
    record = deepcopy(a_course(image={"src": "https://images.example/its-own.png"}))
    parsed = parser.parse(record)
    one = of(parsed, key)
    course = record if key != COURSE else None
    paths = origins(
        one.content_type.value, key, one.payload, course=course, advertised_run=one.advertised_run
    )

    write(record, paths[column], LIES[column])

    assert getattr(of(parser.parse(record), key), column) != getattr(one, column)


def test_a_run_served_apart_is_read_by_its_own_names() -> None:
    record = a_run()
    paths = origins("courserun", RUNS[2], record, course=a_course())
    assert (paths["enroll_by"], paths["parent"]) == ("enrollment_end", "parent_content_key")


def test_a_run_that_upstream_did_not_normalize_is_read_by_its_own_dates() -> None:
    course = a_course(normalized_metadata_by_run={})
    [run] = [one for one in course["course_runs"] if one["key"] == RUNS[2]]
    paths = origins("courserun", RUNS[2], run, course=course)
    assert paths["start_date"] == f"course_runs[{RUNS[2]}].start"
    assert paths["price_cents"] == f"course_runs[{RUNS[2]}], the price that it lists"


def test_programs_and_whatever_upstream_served_can_be_explained() -> None:
    for name in ("courses", "other-types", "thin-courses"):
        for record in recorded(name):
            for one in (content := parser.parse(record), *content.runs):
                course = record if one is not content else None
                found = origins(
                    one.content_type.value,
                    one.content_key,
                    one.payload,
                    course=course,
                    advertised_run=one.advertised_run,
                )
                assert found["title"]
    assert origins("program", "x", {})["active"] == "status"
