"""Courses and their runs, as the real software serves them: checked by facts counted in the raw JSON."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from bursary.catalog import payload as payloads
from bursary.catalog.parser import Completeness, Content, ContentType, parse

Record = dict[str, Any]
ACourse = Callable[..., Record]


# -- Courses ------------------------------------------------------------------------------------------------


def test_every_recorded_course_is_full_and_under_its_own_key(
    courses: list[Record], contents: list[Content]
) -> None:
    assert [content.content_key for content in contents] == [record["key"] for record in courses]
    assert {content.content_type for content in contents} == {ContentType.COURSE}
    assert {content.completeness for content in contents} == {Completeness.FULL}
    assert [content.payload for content in contents] == [payloads.without_links(record) for record in courses]


def test_dates_and_prices_of_the_courses_are_those_of_their_advertised_runs(
    courses: list[Record], contents: list[Content]
) -> None:
    for content, record in zip(contents, courses, strict=True):
        terms = record["normalized_metadata"]
        assert content.start_date == moment(terms["start_date"])
        assert content.end_date == moment(terms["end_date"])
        assert content.enroll_start == moment(terms["enroll_start_date"])
        assert content.enroll_by == moment(terms["enroll_by_date"])
        if terms["content_price"]:
            assert content.price_cents == round(terms["content_price"] * 100)


def test_of_sixteen_courses_served_at_nothing_fourteen_are_free_and_two_unknown(
    courses: list[Record], contents: list[Content]
) -> None:
    unpriced = [record for record in courses if record["normalized_metadata"]["content_price"] == 0.0]
    free = {record["key"] for record in unpriced if record["advertised_course_run_uuid"]}
    assert {content.content_key for content in contents if content.price_cents == 0} == free
    assert {content.content_key for content in contents if content.price_cents is None} == {
        "SaoLuisX+PM226",  # a paid course, its only run over
        "ZurichX+AH171",  # an audit course, its only run over
    }
    assert (len(unpriced), len(free)) == (16, 14)


def test_the_advertised_run_gives_its_key_pacing_and_length(
    courses: list[Record], contents: list[Content]
) -> None:
    for content, record in zip(contents, courses, strict=True):
        uuid = record["advertised_course_run_uuid"]
        advertised = next((run for run in record["course_runs"] if run["uuid"] == uuid), None)
        expected = (
            (advertised["key"], advertised["pacing_type"], advertised["weeks_to_complete"])
            if advertised
            else ("", "", None)
        )
        assert (content.advertised_run, content.pacing, content.weeks_to_complete) == expected
    assert sum(content.advertised_run == "" for content in contents) == 2


def test_seventeen_courses_are_inactive_and_the_runs_agree(contents: list[Content]) -> None:
    assert sum(not content.active for content in contents) == 17
    for content in contents:
        assert content.active == any(run.active for run in content.runs)


def test_kind_seller_partners_and_pictures_of_the_courses(
    courses: list[Record], contents: list[Content]
) -> None:
    assert Counter(content.course_type for content in contents) == {
        "verified-audit": 136,
        "executive-education-2u": 29,
        "professional": 20,
        "audit": 15,
    }
    assert Counter(content.product_source for content in contents) == {"edx": 171, "2u": 29}
    for content, record in zip(contents, courses, strict=True):
        named = [(str(partner.uuid), partner.key, partner.name) for partner in content.partners]
        assert named == [(owner["uuid"], owner["key"], owner["name"]) for owner in record["owners"]]
        assert content.image_url == (record["image_url"] or "")


def test_only_the_two_unpriced_courses_have_anything_to_warn_of(contents: list[Content]) -> None:
    warned = [content for content in contents if content.warnings]
    assert sorted(content.content_key for content in warned) == ["SaoLuisX+PM226", "ZurichX+AH171"]
    assert not [run for content in contents for run in content.runs if run.warnings]


# -- Runs inside courses ------------------------------------------------------------------------------------


def test_all_467_runs_are_cut_from_their_courses(courses: list[Record], contents: list[Content]) -> None:
    served = [(run["key"], record["key"]) for record in courses for run in record["course_runs"]]
    runs = [run for content in contents for run in content.runs]
    assert [(run.content_key, run.parent_key) for run in runs] == served
    assert len({run.content_key for run in runs}) == len(runs) == 467
    assert {(run.content_type, run.completeness, run.advertised_run, run.runs) for run in runs} == {
        (ContentType.COURSERUN, Completeness.FULL, "", ())
    }


def test_runs_have_the_dates_and_prices_normalized_for_them(
    courses: list[Record], contents: list[Content]
) -> None:
    for content, record in zip(contents, courses, strict=True):
        for run in content.runs:
            terms = record["normalized_metadata_by_run"][run.content_key]
            assert run.start_date == moment(terms["start_date"])
            assert run.end_date == moment(terms["end_date"])
            assert run.enroll_start == moment(terms["enroll_start_date"])
            assert run.enroll_by == moment(terms["enroll_by_date"])
            assert run.price_cents == round(terms["content_price"] * 100)


def test_runs_inherit_what_only_the_course_has(contents: list[Content]) -> None:
    for content in contents:
        for run in content.runs:
            assert run.course_type == content.course_type
            assert run.product_source == content.product_source
            assert run.partners == content.partners
            assert run.upstream_modified == content.upstream_modified


def test_a_run_without_normalized_terms_has_its_own_dates(a_course: ACourse) -> None:
    record = a_course(normalized_metadata_by_run={})
    for run, raw in zip(parse(record).runs, record["course_runs"], strict=True):
        own = [raw["start"], raw["end"], raw["enrollment_start"], raw["enrollment_end"]]
        assert [run.start_date, run.end_date, run.enroll_start, run.enroll_by] == list(map(moment, own))


EXECUTIVE = {"mode": "paid-executive-education", "price": "2900.00", "currency": "USD"}


@pytest.mark.parametrize(
    ("fixed", "entitlements", "seat", "expected"),
    [
        ("199.99", [EXECUTIVE], 149, 19999),
        (199.99, [], None, 19999),
        (None, [EXECUTIVE], 149, 290000),
        ("0.00", [EXECUTIVE], None, 290000),
        (None, [{"mode": "verified", "price": "50.00"}], 149, 14900),
        (None, [EXECUTIVE | {"currency": "AED"}], 149, 14900),
        (None, [], None, None),
        (None, [], 0, None),
        ("1,299.00", [EXECUTIVE], 149, None),
        (None, [EXECUTIVE | {"price": "soon"}], 149, None),
    ],
)
def test_a_run_without_normalized_terms_is_priced_in_upstreams_order(
    a_course: ACourse, fixed: object, entitlements: list[Record], seat: object, expected: int | None
) -> None:
    record = a_course(normalized_metadata_by_run={}, entitlements=entitlements)
    record["course_runs"][0] |= {"fixed_price_usd": fixed, "first_enrollable_paid_seat_price": seat}
    assert parse(record).runs[0].price_cents == expected


def test_a_course_served_at_nothing_costs_what_its_advertised_run_costs(a_course: ACourse) -> None:
    record = a_course()
    record["normalized_metadata"]["content_price"] = 0.0
    assert parse(record).price_cents == 14900
    record["normalized_metadata_by_run"] = {}
    record["course_runs"][2]["fixed_price_usd"] = "75.00"
    assert parse(record).price_cents == 7500
    record["course_runs"][2] |= {"fixed_price_usd": None, "first_enrollable_paid_seat_price": None}
    assert parse(record).price_cents == 0


@pytest.mark.parametrize(("fixed", "expected"), [(None, 0), ("0.00", 0), ("75.00", 7500), ("1,299.00", None)])
def test_a_run_normalized_at_nothing_is_free_unless_it_lists_a_price(
    a_course: ACourse, fixed: object, expected: int | None
) -> None:
    record = a_course()
    run = record["course_runs"][0]
    run |= {"fixed_price_usd": fixed, "first_enrollable_paid_seat_price": None}
    record["normalized_metadata_by_run"][run["key"]]["content_price"] = 0.0
    assert parse(record).runs[0].price_cents == expected


@pytest.mark.parametrize("price", ["1,299.00", "free", -1, True, 10**12, [149], float("nan"), float("inf")])
def test_an_unusable_price_is_unknown_and_warned_of(a_course: ACourse, price: object) -> None:
    content = parse(a_course(normalized_metadata={"content_price": price}))
    assert content.price_cents is None
    assert content.warnings[0].startswith("normalized_metadata.content_price ")


@pytest.mark.parametrize(
    ("change", "offered", "active"),
    [
        ({}, True, True),
        ({"status": "Published"}, True, True),
        ({"status": "unpublished"}, False, False),
        ({"status": None}, False, False),
        ({"is_marketable": False}, False, False),
        ({"is_marketable": None}, False, False),
        ({"is_enrollable": False}, True, False),
        ({"is_enrollable": "yes"}, True, False),
        ({"status": "reviewed", "is_marketable": False, "is_marketable_external": True}, True, True),
        ({"is_marketable_external": True, "is_enrollable": False}, True, False),
        ({"status": "reviewed", "is_marketable_external": "yes"}, False, False),
    ],
    ids=str,
)
def test_a_run_is_active_when_it_is_offered_and_enrollable(
    a_course: ACourse, change: Record, offered: bool, active: bool
) -> None:
    """Offered is published and marketable, or marketable outside, as a scheduled run under review is."""
    record = a_course()
    record["course_runs"][0] |= {"is_marketable_external": False} | change
    run = parse(record).runs[0]
    assert (run.offered, run.active) == (offered, active)
    assert run.enrollable is (record["course_runs"][0]["is_enrollable"] is True)


def test_a_course_that_does_not_say_whether_it_is_active_asks_its_runs(a_course: ACourse) -> None:
    assert parse(a_course(active=None)).active is True
    assert parse(a_course(active="maybe", course_runs=[])).active is False


def test_runs_without_a_key_of_their_own_are_left_out_with_a_note(a_course: ACourse) -> None:
    record = a_course()
    first = record["course_runs"][0]
    unusable = [
        {"title": "no key"},
        first | {"key": 7},
        first | {"key": "a b"},
        first | {"key": "GlobeX+C109"},
    ]
    record["course_runs"] = [*unusable, "not a run", None, first, first | {"title": "Again"}]
    content = parse(record)
    assert [run.title for run in content.runs] == ["Introduction to Cybersecurity"]
    assert content.warnings[:-1] == (
        "course_runs[0] has no usable key",
        "course_runs[1].key 7 is not a key",
        "course_runs[1] has no usable key",
        "course_runs[2].key 'a b' is not a key",
        "course_runs[2] has no usable key",
        "course_runs[3] repeats the key 'GlobeX+C109'",
        "course_runs[4] 'not a run' is not an object",
        "course_runs[5] None is not an object",
        f"course_runs[7] repeats the key '{first['key']}'",
    )


# -- Thin courses -------------------------------------------------------------------------------------------


def test_a_thin_course_has_no_price_nor_have_its_runs(thin_courses: list[Record]) -> None:
    assert sum(len(parse(record).runs) for record in thin_courses) == 23
    for content in map(parse, thin_courses):
        assert content.completeness is Completeness.THIN
        assert (content.price_cents, content.enroll_by, content.partners) == (None, None, ())
        for run in content.runs:
            assert (run.completeness, run.price_cents) == (Completeness.THIN, None)
            assert (run.title, run.product_source) == (content.title, content.product_source)


def test_a_course_is_thin_without_normalized_metadata_that_is_an_object(a_course: ACourse) -> None:
    record = a_course()
    del record["normalized_metadata"]
    for thin in (record, a_course(normalized_metadata=None), a_course(normalized_metadata=[])):
        content = parse(thin)
        assert content.completeness is Completeness.THIN
        assert [each.price_cents for each in (content, *content.runs)] == [None] * 4


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
