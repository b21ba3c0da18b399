"""Records as the real software serves them, and hostile ones."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bursary.catalog.parser import Content, parse

Record = dict[str, Any]

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def courses() -> list[Record]:
    """200 full courses. Not to be changed: see `a_course`."""
    return _records("catalog-courses.jsonl")


@pytest.fixture(scope="session")
def contents(courses: list[Record]) -> list[Content]:
    """The 200 full courses, parsed."""
    return [parse(record) for record in courses]


@pytest.fixture(scope="session")
def thin_courses() -> list[Record]:
    return _records("catalog-thin-courses.jsonl")


@pytest.fixture(scope="session")
def other_types() -> list[Record]:
    return _records("catalog-other-types.jsonl")


@pytest.fixture(scope="session")
def hostile() -> dict[int, Record]:
    """The hostile record of each line, counted from 1."""
    return dict(enumerate(_records("catalog-hostile.jsonl"), start=1))


@pytest.fixture
def a_course(courses: list[Record]) -> Callable[..., Record]:
    """Make a full course with three runs, the last of them advertised; arguments replace its fields."""
    [sample] = [course for course in courses if course["key"] == "GlobeX+C109"]

    def make(**changes: object) -> Record:
        return deepcopy(sample) | changes

    return make


def _records(name: str) -> list[Record]:
    with (DATA / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
