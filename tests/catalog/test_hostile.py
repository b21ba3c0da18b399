"""One test for each hostile record; `tests/data/catalog-hostile.index.json` says what each holds and why."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bursary.catalog import payload as payloads
from bursary.catalog.parser import Content, UnusableRecord, parse

Hostile = dict[int, dict[str, Any]]


def test_every_hostile_record_has_its_test(data: Path) -> None:
    index = json.loads((data / "catalog-hostile.index.json").read_text(encoding="utf-8"))
    tested = [name for name in globals() if name.startswith("test_hostile_")]
    assert sorted(int(name.split("_")[2]) for name in tested) == [case["line"] for case in index]


def test_hostile_01_missing_dates_are_unknown(hostile: Hostile) -> None:
    content = parse(hostile[1])
    assert dates(content) == [None] * 4
    assert [dates(run) for run in content.runs] == [[None] * 4] * 4
    assert content.price_cents == 19900
    assert content.warnings == ()


def test_hostile_02_each_spelling_of_a_date_is_one_instant_or_unknown(hostile: Hostile) -> None:
    content = parse(hostile[2])
    expected = {spelling: datetime(2026, 3, 1, tzinfo=UTC) for spelling in range(9)}
    expected[1] = expected[1].replace(microsecond=123456)
    expected[3] = expected[3].replace(microsecond=500000)
    assert [run.start_date for run in content.runs] == [expected.get(number) for number in range(14)]
    assert [run.enroll_by for run in content.runs] == [run.start_date for run in content.runs]
    assert [bool(run.warnings) for run in content.runs] == [False] * 9 + [True] * 5
    assert "normalized.start_date 'TBD' is not a date" in content.runs[10].warnings


def test_hostile_03_a_null_price_is_unknown_not_zero(hostile: Hostile) -> None:
    content = parse(hostile[3])
    assert [each.price_cents for each in (content, *content.runs)] == [None] * 4


def test_hostile_04_a_price_in_text_becomes_cents(hostile: Hostile) -> None:
    content = parse(hostile[4])
    assert [each.price_cents for each in (content, *content.runs)] == [14950] * 4


def test_hostile_05_a_course_without_runs_has_no_price(hostile: Hostile) -> None:
    content = parse(hostile[5])
    assert (content.runs, content.advertised_run, content.price_cents) == ((), "", None)
    assert content.content_key == "HostileX+H05"


def test_hostile_06_an_advertised_run_that_is_not_listed_is_none_and_the_course_not_free(
    hostile: Hostile,
) -> None:
    content = parse(hostile[6])
    assert (content.advertised_run, content.price_cents) == ("", None)
    assert [run.price_cents for run in content.runs] == [14900] * 4
    assert (
        "advertised_course_run_uuid 'deadbeef-dead-4eef-8ead-beefdeadbeef' names no run"
        in content.warnings[0]
    )


def test_hostile_07_a_title_of_600_characters_is_kept_whole(hostile: Hostile) -> None:
    assert len(parse(hostile[7]).title) == 600


def test_hostile_08_text_in_any_script_is_kept_whole(hostile: Hostile) -> None:
    content = parse(hostile[8])
    assert content.title == hostile[8]["title"]
    assert content.payload == payloads.without_links(hostile[8])


def test_hostile_09_the_newer_of_two_copies_is_newer(hostile: Hostile) -> None:
    newer, older = parse(hostile[9]), parse(hostile[10])
    assert newer.content_key == older.content_key
    assert newer.upstream_modified == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert newer.digest != older.digest


def test_hostile_10_the_older_of_two_copies_is_an_instant_of_its_own(hostile: Hostile) -> None:
    assert parse(hostile[10]).upstream_modified == datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_hostile_11_an_unknown_content_type_is_refused_by_name(hostile: Hostile) -> None:
    with pytest.raises(UnusableRecord) as refused:
        parse(hostile[11])
    assert (refused.value.reason, refused.value.content_key) == ("unknown_content_type", "HostileX+H10")


def test_hostile_12_executive_education_is_priced_and_its_source_known_by_name(hostile: Hostile) -> None:
    content = parse(hostile[12])
    assert (content.price_cents, content.product_source) == (290000, "2u")
    assert {run.price_cents for run in content.runs} == {290000}
    unpriced = hostile[12] | {"normalized_metadata_by_run": {}}
    unpriced["normalized_metadata"] = unpriced["normalized_metadata"] | {"content_price": 0.0}
    assert parse(unpriced).price_cents == 290000, "the entitlement has the price as well"


def test_hostile_13_a_course_with_only_past_runs_is_kept_and_inactive(hostile: Hostile) -> None:
    content = parse(hostile[13])
    assert (content.active, [run.active for run in content.runs]) == (False, [False])
    assert content.price_cents == 290000


def test_hostile_14_dates_that_would_overflow_are_unknown_and_others_kept(hostile: Hostile) -> None:
    content = parse(hostile[14])
    assert content.start_date == datetime(1970, 1, 1, tzinfo=UTC)
    assert content.end_date is None
    assert content.enroll_by == datetime(2099, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    own = parse(hostile[14] | {"normalized_metadata_by_run": {}}).runs[3]
    assert own.start_date == datetime(2099, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert (own.end_date, own.enroll_by) == (None, None)
    assert "enrollment_end '0001-01-01T00:00:00Z' lies outside the years 1900 to 9998" in own.warnings


def test_hostile_15_a_negative_price_is_unknown(hostile: Hostile) -> None:
    content = parse(hostile[15])
    assert [each.price_cents for each in (content, *content.runs)] == [None] * 4
    assert content.warnings == ("normalized_metadata.content_price -199.0 is negative",)


def test_hostile_16_markup_in_a_title_is_kept_verbatim(hostile: Hostile) -> None:
    title = parse(hostile[16]).title
    assert title == hostile[16]["title"]
    assert title.startswith('<script>alert("x")</script>')


def dates(content: Content) -> list[datetime | None]:
    return [content.start_date, content.end_date, content.enroll_start, content.enroll_by]
