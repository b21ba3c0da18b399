"""What all records have in common: a type, an identity, and that one bad field does not spoil the others."""

from collections import Counter
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest

from bursary.catalog.parser import Completeness, ContentType, UnusableRecord, content_keys, parse
from bursary.catalog.records import Unfetched, UnreadableElement

Record = dict[str, Any]
ACourse = Callable[..., Record]


# -- Types other than courses -------------------------------------------------------------------------------


def test_the_other_types_are_parsed_by_their_own_rules(other_types: list[Record]) -> None:
    contents = [parse(record) for record in other_types]
    assert Counter(content.content_type for content in contents) == {
        ContentType.COURSERUN: 222,
        ContentType.PROGRAM: 10,
        ContentType.LEARNERPATHWAY: 3,
    }
    assert {content.price_cents for content in contents} == {None}
    assert all(content.title for content in contents)
    assert [content.title for content in contents] == [record["title"] for record in other_types]
    assert not [content.warnings for content in contents if content.warnings]


def test_a_run_of_its_own_record_is_thin_so_that_the_nested_run_wins(other_types: list[Record]) -> None:
    for record in other_types:
        if record["content_type"] == "courserun":
            content = parse(record)
            assert content.completeness is Completeness.THIN
            assert (content.content_key, content.parent_key) == (record["key"], record["parent_content_key"])
            assert content.start_date == moment(record["start"])
            assert content.enroll_by == moment(record["enrollment_end"])
            assert content.active == (record["published"] and record["is_enrollable"])
            assert (content.offered, content.enrollable) == (record["published"], record["is_enrollable"])


@pytest.mark.parametrize(
    ("named", "aggregation", "course", "path"),
    [
        ("GlobeX+B114", "courserun:GlobeX+B114", "GlobeX+B114", "parent_content_key"),
        ("GlobeX+B114", None, "GlobeX+B114", "parent_content_key"),
        (None, "courserun:GlobeX+B114", "GlobeX+B114", "aggregation_key"),
        (None, "course:GlobeX+B114", None, "parent_content_key"),
        (None, "courserun:", None, "parent_content_key"),
        (None, 7, None, "parent_content_key"),
    ],
)
def test_a_run_that_is_served_without_its_course_names_it_in_either_of_two_fields(
    other_types: list[Record], named: object, aggregation: object, course: str | None, path: str
) -> None:
    record = next(one for one in other_types if one["content_type"] == "courserun")
    content = parse(record | {"parent_content_key": named, "aggregation_key": aggregation})
    assert (content.content_type, content.completeness) == (ContentType.COURSERUN, Completeness.THIN)
    assert (content.parent_key, content.paths["parent"]) == (course, path)


@pytest.mark.parametrize(
    ("change", "offered", "active"),
    [
        ({}, True, True),
        ({"is_marketable": False}, False, False),
        ({"published": False}, False, False),
        ({"published": False, "is_marketable_external": True}, True, True),
        ({"is_enrollable": False}, True, False),
    ],
    ids=str,
)
def test_a_run_of_its_own_record_is_offered_unless_it_says_that_it_is_not(
    other_types: list[Record], change: Record, offered: bool, active: bool
) -> None:
    record = next(one for one in other_types if one["content_type"] == "courserun")
    content = parse(record | change)
    assert (content.offered, content.active, content.variant) == (offered, active, "")


def test_programs_and_pathways_are_known_by_their_uuid(other_types: list[Record]) -> None:
    for record in other_types:
        if record["content_type"] in {"program", "learnerpathway"}:
            content = parse(record | {"uuid": record["uuid"].upper()})
            assert content.content_key == record["uuid"] == str(content.uuid)
            assert (content.completeness, content.active) == (Completeness.FULL, True)
            owners = [owner["key"] for owner in record.get("authoring_organizations", [])]
            assert [partner.key for partner in content.partners] == owners


# -- Identity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "reason", "key"),
    [
        (UnreadableElement(3, "line_too_long"), "not_json", ""),
        (Unfetched("X+1", "too_large", "It is too large."), "too_large", "X+1"),
        (None, "not_an_object", ""),
        ([], "not_an_object", ""),
        ("course", "not_an_object", ""),
        ({}, "unknown_content_type", ""),
        ({"content_type": ["course"], "key": "X+1"}, "unknown_content_type", "X+1"),
        ({"content_type": "Course", "key": 5}, "unknown_content_type", ""),
        ({"content_type": "course"}, "key_missing", ""),
        ({"content_type": "course", "key": ""}, "key_missing", ""),
        ({"content_type": "program", "key": "X+1"}, "key_missing", ""),
        ({"content_type": "course", "key": 5}, "key_unusable", ""),
        ({"content_type": "course", "key": "x" * 256}, "key_unusable", ""),
        ({"content_type": "course", "key": "X+1 "}, "key_unusable", ""),
        ({"content_type": "course", "key": "X+1\x00"}, "key_unusable", ""),
        ({"content_type": "course", "key": "X+1\ud800"}, "key_unusable", ""),
        ({"content_type": "program", "uuid": "not-a-uuid"}, "key_unusable", ""),
        ({"content_type": "course", "key": "X+1", "extra": {"a": object()}}, "not_json", "X+1"),
    ],
)
def test_a_record_without_an_identity_is_refused_with_a_stable_reason(
    payload: object, reason: str, key: str
) -> None:
    with pytest.raises(UnusableRecord) as refused:
        parse(payload)
    assert (refused.value.reason, refused.value.content_key) == (reason, key)
    assert str(refused.value).startswith(f"{reason}: ")


def test_a_record_nested_too_deeply_is_refused_by_name(a_course: ACourse) -> None:
    deep: object = 1
    for _ in range(800):
        deep = [deep]
    with pytest.raises(UnusableRecord) as refused:
        parse(a_course(faq=deep))
    assert (refused.value.reason, refused.value.content_key) == ("nested_too_deeply", "GlobeX+C109")


def test_the_barest_course_is_all_unknown() -> None:
    content = parse({"content_type": "course", "key": "X+1"})
    assert (content.title, content.uuid, content.runs, content.active) == ("", None, (), False)
    assert content.warnings == ()


def test_keys_are_the_records_own_and_those_of_its_runs(a_course: ACourse) -> None:
    record = a_course()
    assert content_keys(record) == ("GlobeX+C109", *(run["key"] for run in record["course_runs"]))
    assert content_keys(a_course(content_type="video")) == content_keys(
        record
    )  # it cannot be parsed, and is there
    assert content_keys(a_course(course_runs="none")) == ("GlobeX+C109",)
    assert content_keys(UnreadableElement(1, "not_json")) == ()
    assert content_keys(Unfetched("X+1", "upstream_error", "It answered with 500.")) == ("X+1",)


# -- Tolerance ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "warning"),
    [
        ("title", 5, "title 5 is not text"),
        ("course_type", "x" * 65, f"course_type '{'x' * 60}'… is too long"),
        ("uuid", "u-1", "uuid 'u-1' is not a uuid"),
        ("owners", {"key": "X"}, "owners (an object) is not a list"),
        ("image", "x.jpg", "image 'x.jpg' is not an object"),
        ("active", 1, "active 1 is neither true nor false"),
        ("content_last_modified", 10**300, "content_last_modified (an enormous number) is not a date"),
        ("normalized_metadata_by_run", [1], "normalized_metadata_by_run (a list) is not an object"),
    ],
)
def test_an_unusable_field_is_unknown_and_the_rest_is_kept(
    a_course: ACourse, field: str, value: object, warning: str
) -> None:
    content = parse(a_course(**{field: value}))
    assert warning in content.warnings
    assert (content.price_cents, len(content.runs)) == (14900, 3)


def test_a_thousand_faults_leave_fifty_warnings(a_course: ACourse) -> None:
    assert len(parse(a_course(owners=[None] * 1000)).warnings) == 50


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"name": "Edx Inc.", "slug": "edx"}, "edx"),
        ({"name": "2u", "slug": None}, "2u"),
        ({"name": "2U"}, "2u"),
        ("2u", "2u"),
        ({"name": "Some Company, Ltd."}, ""),
        (None, ""),
        ([], ""),
    ],
)
def test_the_seller_is_known_by_slug_or_by_a_name_that_could_be_one(
    a_course: ACourse, source: object, expected: str
) -> None:
    assert parse(a_course(product_source=source)).product_source == expected


def test_no_single_damaged_field_makes_a_record_unparsable(a_course: ACourse) -> None:
    """Every field of a course, of its runs and of its terms, replaced by each kind of nonsense in turn."""
    nonsense: list[object] = [
        None,
        True,
        -1,
        10**200,
        1.5,
        float("nan"),
        "",
        "\x00\ud800",
        "x" * 300,
        [],
        [[]],
        {},
        {"a": [None]},
    ]
    for junk in nonsense:
        for name in a_course().keys() - {"key", "content_type"}:
            assert parse(a_course(course_runs=[]) | {name: junk}).content_key == "GlobeX+C109"
        record = a_course()
        record["course_runs"] = [{name: junk} | {"key": f"run-{name}"} for name in record["course_runs"][0]]
        record["normalized_metadata"] = dict.fromkeys(record["normalized_metadata"], junk)
        record["normalized_metadata_by_run"] = {"run-start": record["normalized_metadata"], "run-end": junk}
        record["owners"] = [dict.fromkeys(record["owners"][0], junk)]
        record["entitlements"] = [
            dict.fromkeys(record["entitlements"][0], junk) | {"mode": "paid-executive-education"}
        ]
        assert parse(record).content_key == "GlobeX+C109"


def test_content_cannot_be_changed(a_course: ACourse) -> None:
    content = parse(a_course())
    with pytest.raises(FrozenInstanceError):
        content.price_cents = 1  # type: ignore[misc]  # the checker refuses it too


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
