"""What of a record is stored, which links are one catalog's own, and what changes a digest."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from bursary.catalog.parser import Content, parse
from bursary.catalog.payload import (
    LINKS,
    MAX_DEPTH,
    Links,
    Unstorable,
    content_digest,
    storable_record,
    with_links,
    without_links,
)
from tests.replica.listing import a_course as recorded_course
from tests.replica.listing import a_run, recorded

Record = dict[str, Any]

CUSTOMER = "acme-corp"


def test_text_loses_only_what_postgresql_refuses() -> None:
    kept = "\u202eمقدمة\u202c 机器学习 \U0001f469\U0001f3fd\u200d\U0001f393 e\u0301 \u200b\ufeff\x01"
    assert storable_record({"a\x00": [f"{kept}\x00\ud83d"]}) == {"a": [kept]}


def test_numbers_that_a_database_refuses_become_null() -> None:
    record = {"a": float("nan"), "b": [float("inf")], "c": 10**400, "d": 2**64, "e": True, "f": 1.5}
    assert storable_record(record) == {"a": None, "b": [None], "c": None, "d": 2**64, "e": True, "f": 1.5}


def test_the_stored_record_is_a_copy() -> None:
    record: Record = {"runs": [{}]}
    stored = storable_record(record)
    record["runs"][0]["key"] = "later"
    assert stored == {"runs": [{}]}


def test_nesting_is_walked_only_so_far() -> None:
    def nested(levels: int) -> object:
        return [nested(levels - 1)] if levels else 1

    storable_record({"a": nested(MAX_DEPTH - 2)})
    with pytest.raises(Unstorable, match="nested_too_deeply"):
        storable_record({"a": nested(MAX_DEPTH)})


@pytest.mark.parametrize("record", [{"a": object()}, {"a": (1,)}, {1: "a"}])
def test_what_json_has_not_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(Unstorable, match="not_json"):
        storable_record(record)


def test_the_digest_does_not_depend_on_the_order_of_names() -> None:
    assert content_digest({"a": 1, "b": {"c": 2, "d": 3}}) == content_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert content_digest([1, 2]) != content_digest([2, 1])


def test_every_recorded_course_and_run_has_a_digest_of_its_own(contents: list[Content]) -> None:
    digests = {each.digest for content in contents for each in (content, *content.runs)}
    assert len(digests) == 200 + 467


def test_a_sync_that_changed_nothing_but_its_traces_leaves_every_digest(
    a_course: Callable[..., Record],
) -> None:
    before = parse(a_course())
    synced = a_course(
        content_last_modified="2026-11-22T23:02:21.763877Z",
        modified="2026-11-22T22:52:32Z",
        data_modified_timestamp=None,
        enrollment_url="https://enterprise.example.org/globex/course/GlobeX+C109",
        marketing_url="https://www.example-edx.org/course/globex-c109?utm_source=globex",
        xapi_activity_id="https://lms.example.org/xapi",
        active=False,
        editable=False,
        enrollment_count=7,
        recent_enrollment_count=3,
    )
    synced["owners"][0]["data_modified_timestamp"] = "2026-11-22T22:52:25Z"
    for run in synced["course_runs"]:
        run |= {
            "modified": "2026-11-22T00:00:00Z",
            "enrollment_count": 9,
            "marketing_url": "https://x.example",
        }
        run.pop("enrollment_url", None)
        run.pop("parent_content_key", None)
    after = parse(synced)
    assert after.upstream_modified != before.upstream_modified
    assert after.digest == before.digest
    assert [run.digest for run in after.runs] == [run.digest for run in before.runs]


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Another title"},
        {"course_type": "audit"},
        {"product_source": None},
        {"owners": []},
        {"normalized_metadata": {"content_price": 150.0}},
        {"normalized_metadata": {"enroll_by_date": "2028-10-02T23:59:59Z"}},
        {"advertised_course_run_uuid": None},
        {"course_runs": []},
    ],
    ids=str,
)
def test_a_change_of_content_changes_the_digest(a_course: Callable[..., Record], change: Record) -> None:
    assert parse(a_course(**change)).digest != parse(a_course()).digest


def test_a_new_price_or_date_of_one_run_changes_that_run_and_its_course_alone(
    a_course: Callable[..., Record],
) -> None:
    before, record = parse(a_course()), a_course()
    record["normalized_metadata_by_run"][before.runs[1].content_key]["content_price"] = 199.0
    after = parse(record)
    assert after.digest != before.digest
    changed = [new.digest != old.digest for new, old in zip(after.runs, before.runs, strict=True)]
    assert changed == [False, True, False]


def test_what_a_run_has_from_its_course_is_in_its_digest(a_course: Callable[..., Record]) -> None:
    before, after = parse(a_course()), parse(a_course(course_type="professional"))
    assert {run.digest for run in before.runs}.isdisjoint(run.digest for run in after.runs)


# -- Links --------------------------------------------------------------------------------------------------


def of_all(content: Content) -> dict[str, Links]:
    return {one.content_key: one.links for one in (content, *content.runs)}


def test_what_is_shared_names_no_customer() -> None:
    for name in ("courses", "thin-courses", "other-types"):
        for record in recorded(name):
            assert CUSTOMER not in json.dumps([one.payload for one in _with_runs(parse(record))])


def test_the_shared_record_and_the_catalogs_links_make_the_record_that_it_serves() -> None:
    for name in ("courses", "thin-courses", "other-types", "hostile"):
        for record in recorded(name):
            if record["content_type"] == "video":
                continue
            content = parse(record)
            assert with_links(content.payload, content.content_key, of_all(content)) == record


def test_links_that_a_shared_record_still_has_are_not_shown_to_another_catalog() -> None:
    course = recorded_course()

    shown = with_links(course, course["key"], {course["key"]: {"enrollment_url": "https://other.example"}})

    assert shown["enrollment_url"] == "https://other.example"
    assert "xapi_activity_id" not in shown
    assert CUSTOMER not in json.dumps(shown)


def test_a_runs_own_record_has_links_of_its_own() -> None:
    content = parse(a_run())
    assert content.links.keys() == LINKS
    assert not LINKS & content.payload.keys()


def test_what_is_no_run_passes_through() -> None:
    strange: Record = {"course_runs": [None, 7, {"key": 5, "enrollment_url": "x"}]}
    assert without_links(strange) == {"course_runs": [None, 7, {"key": 5}]}
    assert without_links({"course_runs": "none"}) == {"course_runs": "none"}


def _with_runs(content: Content) -> tuple[Content, ...]:
    return (content, *content.runs)
