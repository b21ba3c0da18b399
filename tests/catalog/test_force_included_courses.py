"""Force-included courses: without a type, and without anything normalized.

Upstream normalizes a course from its advertised run, so the recorded courses, stripped of what upstream had
normalized, must be parsed to what it was.
"""

from collections.abc import Callable
from typing import Any

from bursary.catalog.parser import Completeness, Content, ContentType, UnusableRecord, content_keys, parse

Record = dict[str, Any]

NORMALIZED = ("start_date", "end_date", "enroll_start", "enroll_by", "price_cents")


def test_a_recorded_course_has_the_dates_and_prices_that_upstream_would_normalize(
    courses: list[Record], contents: list[Content]
) -> None:
    compared = 0
    for record, ordinary in zip(courses, contents, strict=True):
        content = parse(force_included(record))
        assert (content.content_type, content.content_key) == (ContentType.COURSE, record["key"])
        assert (content.completeness, content.active) == (Completeness.FULL, ordinary.active)
        assert content.advertised_run == ordinary.advertised_run
        for one, same in zip((content, *content.runs), (ordinary, *ordinary.runs), strict=True):
            assert [known(one, name) for name in NORMALIZED] == [known(same, name) for name in NORMALIZED]
            assert (one.offered, one.enrollable, one.active) == (same.offered, same.enrollable, same.active)
            compared += 1
    assert compared == 200 + 467


def test_what_lists_no_price_is_not_known_to_be_free(courses: list[Record], contents: list[Content]) -> None:
    free = [record for record, content in zip(courses, contents, strict=True) if content.price_cents == 0]
    assert {parse(force_included(record)).price_cents for record in free} == {None}
    assert len(free) == 14


def test_without_an_advertised_run_nothing_is_invented(courses: list[Record]) -> None:
    content = parse(force_included(courses[0]) | {"advertised_course_run_uuid": None})
    assert [getattr(content, name) for name in NORMALIZED] == [None] * 5
    assert content.runs[0].start_date is not None


def test_paths_name_the_advertised_run(a_course: Callable[..., Record]) -> None:
    content = parse(force_included(a_course()))
    run = "course_runs[course-v1:GlobeX+C109+2T2027c]"
    assert content.paths["start_date"] == f"{run}.start"
    assert content.paths["enroll_by"] == f"{run}.enrollment_end, seats[].upgrade_deadline"
    assert content.paths["price_cents"] == f"{run}, the price that it lists"
    assert content.paths["completeness"] == "content_type, whether it is null"


def test_the_deadline_of_an_upgrade_can_be_overridden_and_is_that_of_the_best_seat(
    a_course: Callable[..., Record],
) -> None:
    record = force_included(a_course())
    run = record["course_runs"][0]
    run["enrollment_end"] = "2028-03-01T00:00:00Z"
    run["seats"] = [
        {"type": "audit", "upgrade_deadline": "2028-01-01T00:00:00Z"},
        {"type": "verified", "upgrade_deadline": "2028-02-01T00:00:00Z"},
        {"type": "credit", "upgrade_deadline": "2027-01-01T00:00:00Z"},
    ]
    assert str(parse(record).runs[0].enroll_by) == "2028-02-01 00:00:00+00:00"
    run["seats"][1]["upgrade_deadline_override"] = "2028-02-15T00:00:00Z"
    assert str(parse(record).runs[0].enroll_by) == "2028-02-15 00:00:00+00:00"
    run["seats"][1]["upgrade_deadline_override"] = "2028-04-15T00:00:00Z"
    assert str(parse(record).runs[0].enroll_by) == "2028-03-01 00:00:00+00:00"
    run["seats"] = "none"
    assert "seats 'none' is not a list" in parse(record).runs[0].warnings


def test_executive_education_has_no_upgrade_and_ends_with_its_enrolment(
    a_course: Callable[..., Record],
) -> None:
    record = force_included(a_course(course_type="executive-education-2u"))
    run = record["course_runs"][0]
    run["enrollment_end"] = "2028-03-01T00:00:00Z"
    run["seats"] = [{"type": "unpaid-executive-education", "upgrade_deadline": "2028-02-01T00:00:00Z"}]
    assert str(parse(record).runs[0].enroll_by) == "2028-03-01 00:00:00+00:00"


def test_a_course_without_a_type_is_known_by_its_runs_alone(courses: list[Record]) -> None:
    record = force_included(courses[0])
    assert content_keys(record) == content_keys(courses[0])
    assert parse(record | {"course_runs": []}).content_type is ContentType.COURSE
    assert refusal(record | {"course_runs": None}) == "unknown_content_type"
    assert refusal(record | {"key": None}) == "key_missing"


def test_once_normalized_a_force_included_course_is_read_like_any_other(
    courses: list[Record], contents: list[Content]
) -> None:
    content = parse(courses[0] | {"content_type": None, "aggregation_key": None})
    assert [getattr(content, name) for name in NORMALIZED] == [
        getattr(contents[0], name) for name in NORMALIZED
    ]
    assert content.paths["start_date"] == "normalized_metadata.start_date"


def force_included(record: Record) -> Record:
    """Return the record of a course as upstream serves it when it is force-included."""
    rest = {name: value for name, value in record.items() if not name.startswith("normalized_metadata")}
    return rest | {"content_type": None, "aggregation_key": None, "enterprise_force_included": True}


def known(content: Content, name: str) -> object:
    """Return a field. A price of nothing is upstream's word for unknown as well."""
    value = getattr(content, name)
    return value or None if name == "price_cents" else value


def refusal(record: Record) -> str:
    try:
        parse(record)
    except UnusableRecord as refused:
        return refused.reason
    return ""
