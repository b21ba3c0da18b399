"""Courses from the field, each with what a catalog serves of it: dates, prices, restricted runs, flags."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bursary.catalog.parser import Completeness, Content, parse, paths

CASES = Path(__file__).parent.parent / "data" / "cases"

Record = dict[str, Any]
Case = tuple[Record, Content]


def cases(*names: str) -> list[Case]:
    texts = [(CASES / f"{name}.jsonl").read_text(encoding="utf-8") for name in names]
    lines = [line for text in texts for line in text.splitlines()]
    return [(record, parse(record)) for record in map(json.loads, lines)]


EVERY = cases("restricted-ordinary", "restricted-allowed", "joinable")
COURSES = {content.content_key: content for _record, content in cases("joinable")}
ORDINARY = {content.content_key: content for _record, content in cases("restricted-ordinary")}
ALLOWED = {content.content_key: content for _record, content in cases("restricted-allowed")}
VARIANTS = [
    (ORDINARY, "PrivX+1", ""),
    (ORDINARY, "OnlyX+1", ""),
    (ORDINARY, "MoveX+1", ""),
    (ALLOWED, "PrivX+1", sha256(b"course-v1:PrivX+1+PRIV").hexdigest()),
    (ALLOWED, "OnlyX+1", sha256(b"course-v1:OnlyX+1+PRIV").hexdigest()),
    (ALLOWED, "MoveX+1", ""),
]


@pytest.mark.parametrize(("record", "content"), EVERY, ids=lambda each: "")
def test_each_line_is_parsed_to_what_it_says(record: Record, content: Content) -> None:
    assert (content.content_key, content.title) == (record["key"], record["title"])
    assert (content.completeness, content.active) == (Completeness.FULL, record["active"])
    assert terms(content) == served(record["normalized_metadata"], unknown=not content.advertised_run)
    assert [run.content_key for run in content.runs] == [run["key"] for run in record["course_runs"]]
    for run, raw in zip(content.runs, record["course_runs"], strict=True):
        published = raw["status"] == "published" and raw["is_marketable"]
        outside = raw.get("is_marketable_external") is True
        assert terms(run) == served(record["normalized_metadata_by_run"][run.content_key])
        assert (run.offered, run.enrollable) == (published or outside, raw["is_enrollable"])
        assert run.active == (raw["is_enrollable"] and (published or outside))
        assert (run.variant, run.parent_key) == ("", record["key"])
    assert (content.offered, content.enrollable) == (False, False)


@pytest.mark.parametrize(("served_to", "key", "variant"), VARIANTS)
def test_a_courses_variant_is_made_of_the_restricted_runs_that_its_record_names(
    served_to: dict[str, Content], key: str, variant: str
) -> None:
    assert served_to[key].variant == variant


def test_one_course_has_the_price_and_dates_that_each_catalog_is_served() -> None:
    ordinary, allowed = ORDINARY["PrivX+1"], ALLOWED["PrivX+1"]
    assert (ordinary.price_cents, ordinary.enroll_by) == (5000, datetime(2028, 4, 14, 23, 59, 59, tzinfo=UTC))
    assert (allowed.price_cents, allowed.enroll_by) == (7500, datetime(2027, 12, 5, tzinfo=UTC))
    assert (ordinary.advertised_run, allowed.advertised_run) == (
        "course-v1:PrivX+1+PUB",
        "course-v1:PrivX+1+PRIV",
    )
    assert ordinary.runs[0].digest == allowed.runs[0].digest
    assert ORDINARY["MoveX+1"].digest == ALLOWED["MoveX+1"].digest


def test_a_course_of_restricted_runs_alone_is_served_without_runs_price_or_dates() -> None:
    only = ORDINARY["OnlyX+1"]
    assert (only.runs, only.active, only.advertised_run) == ((), False, "")
    assert terms(only) == (None, None, None, None, None)


def test_what_upstream_would_let_learners_join_is_offered_whatever_its_frozen_flag_says() -> None:
    offered = {
        run.content_key.removeprefix("course-v1:"): (run.offered, run.enrollable, run.active)
        for course in COURSES.values()
        for run in course.runs
    }
    assert offered == {
        "EndX+1+R1": (True, False, False),
        "UnpX+1+R1": (False, False, False),
        "EarlyX+1+R1": (True, False, False),
        "SoonX+1+R1": (True, False, False),
        "RevX+1+R1": (True, True, True),
        "LateX+1+R1": (True, True, True),
        "OtherX+1+OLD": (True, False, False),
        "OtherX+1+NEW": (True, True, True),
    }


def test_the_order_of_restricted_runs_is_no_other_variant_and_one_more_of_them_is() -> None:
    record, content = next(case for case in cases("restricted-allowed") if case[1].content_key == "PrivX+1")
    public, private = record["course_runs"]
    more = private | {"key": "course-v1:PrivX+1+MORE", "uuid": None, "restriction_type": "custom-b2c"}
    one_way = parse(record | {"course_runs": [public, private, more]})
    other_way = parse(record | {"course_runs": [more, public, private]})
    assert one_way.variant == other_way.variant
    keys = b"course-v1:PrivX+1+MORE\ncourse-v1:PrivX+1+PRIV"
    assert one_way.variant == sha256(keys).hexdigest() != content.variant
    for unrestricted in (None, ""):
        runs = [public, private | {"restriction_type": unrestricted}]
        assert parse(record | {"course_runs": runs}).variant == ""


@pytest.mark.parametrize(
    "change",
    [
        {"status": "unpublished"},
        {"is_enrollable": False},
        {"is_marketable": False},
        {"is_marketable_external": True},
        {"restriction_type": None},
    ],
    ids=str,
)
def test_the_digest_of_a_run_changes_with_its_flags(change: Record) -> None:
    record, content = next(case for case in cases("restricted-allowed") if case[1].content_key == "PrivX+1")
    public, private = record["course_runs"]
    changed = parse(record | {"course_runs": [public, private | change]})
    assert changed.runs[0].digest == content.runs[0].digest
    assert changed.runs[1].digest != content.runs[1].digest
    assert changed.digest != content.digest


def test_the_paths_of_variant_and_flags_are_named() -> None:
    record, _content = EVERY[0]
    run = "course_runs[course-v1:PrivX+1+PUB]."
    assert paths(record, "PrivX+1")["variant"] == "course_runs[].restriction_type"
    named = paths(record, "course-v1:PrivX+1+PUB")
    assert named["offered"] == f"{run}status, is_marketable, is_marketable_external"
    assert named["enrollable"] == f"{run}is_enrollable"
    assert named["active"] == f"{run}status, is_marketable, is_marketable_external, is_enrollable"


def terms(content: Content) -> tuple[object, ...]:
    return (
        content.start_date,
        content.end_date,
        content.enroll_start,
        content.enroll_by,
        content.price_cents,
    )


def served(normalized: Record, *, unknown: bool = False) -> tuple[object, ...]:
    dates = [normalized[f"{name}_date"] for name in ("start", "end", "enroll_start", "enroll_by")]
    price = None if unknown else round(normalized["content_price"] * 100)
    return (*(date and datetime.fromisoformat(date).astimezone(UTC) for date in dates), price)
