"""What of a record is one catalog's own, and what all of them share."""

import json

from bursary.catalog import payload as payloads
from bursary.catalog.parser import Content, parse
from tests.replica.listing import Record, a_course, a_run, recorded

CUSTOMER = "acme-corp"


def of_all(content: Content) -> dict[str, payloads.Links]:
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
            assert payloads.with_links(content.payload, content.content_key, of_all(content)) == record


def test_links_that_a_shared_record_still_has_are_not_shown_to_another_catalog() -> None:
    course = a_course()

    shown = payloads.with_links(
        course, course["key"], {course["key"]: {"enrollment_url": "https://other.example"}}
    )

    assert shown["enrollment_url"] == "https://other.example"
    assert "xapi_activity_id" not in shown
    assert CUSTOMER not in json.dumps(shown)


def test_a_runs_own_record_has_links_of_its_own() -> None:
    content = parse(a_run())
    assert content.links.keys() == payloads.LINKS
    assert not payloads.LINKS & content.payload.keys()


def test_what_is_no_run_passes_through() -> None:
    strange: Record = {"course_runs": [None, 7, {"key": 5, "enrollment_url": "x"}]}
    assert payloads.without_links(strange) == {"course_runs": [None, 7, {"key": 5}]}
    assert payloads.without_links({"course_runs": "none"}) == {"course_runs": "none"}


def _with_runs(content: Content) -> tuple[Content, ...]:
    return (content, *content.runs)
