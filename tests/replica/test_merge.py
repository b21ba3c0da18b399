"""What a fetched record may do to the row that the replica holds."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from bursary.replica import merge
from bursary.replica.models import ContentChange
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    a_course,
    a_run,
    a_thin_course,
    enrolling_by,
    recorded,
)
from tests.replica.replicated import HOUR, announcements, bring_in, history, row

pytestmark = pytest.mark.django_db


@pytest.mark.on_every_engine
def test_unchanged_content_is_only_checked_although_upstream_moved_its_time_stamp() -> None:
    courses = recorded("courses")[:20]
    bring_in(*courses, *recorded("other-types"))
    moved = [record | {"content_last_modified": LATER} for record in courses]

    with announcements() as announced:
        report = bring_in(*moved, now=NOW + HOUR)

    assert (report.unchanged, report.changed, report.created) == (67, 0, 0)
    assert not ContentChange.objects.exists()
    assert announced == []
    assert (row().fetched_at, row().changed_at) == (NOW, NOW)
    assert (row().checked_at, row().fresh_until) == (NOW + HOUR, NOW + 7 * HOUR)
    assert row().upstream_modified == datetime.fromisoformat(LATER)
    assert row().payload["content_last_modified"] == a_course()["content_last_modified"]


@pytest.mark.on_every_engine
def test_an_older_record_never_overwrites_a_newer_one() -> None:
    bring_in(enrolling_by("2028-09-01T00:00:00Z"))

    report = bring_in(enrolling_by("2028-01-01T00:00:00Z", synced=BEFORE), now=NOW + HOUR)

    assert (report.refused_older, report.changed) == (4, 0)
    assert row().enroll_by == row(RUNS[2]).enroll_by == datetime(2028, 9, 1, tzinfo=UTC)
    assert row().checked_at == NOW


def test_an_older_record_does_not_come_back_after_an_unchanged_newer_one() -> None:
    bring_in(a_course(synced=BEFORE))
    bring_in(a_course(synced=LATER), now=NOW + HOUR)

    bring_in(enrolling_by("2028-01-01T00:00:00Z"), now=NOW + 2 * HOUR)

    assert row().enroll_by == datetime(2028, 10, 1, 23, 59, 59, tzinfo=UTC)


@pytest.mark.on_every_engine
def test_instants_are_compared_not_their_spelling() -> None:
    bring_in(enrolling_by("2028-09-01T00:00:00Z", synced="2026-11-21T10:00:00Z"))

    bring_in(enrolling_by("2028-01-01T00:00:00Z", synced="2026-11-21T11:30:00+02:00"), now=NOW + HOUR)

    assert row().enroll_by == datetime(2028, 9, 1, tzinfo=UTC)


@pytest.mark.on_every_engine
def test_a_slow_fetch_gives_way_to_a_later_one_of_the_same_version() -> None:
    bring_in(enrolling_by("2028-09-01T00:00:00Z"), now=NOW + HOUR)

    report = bring_in(enrolling_by("2028-01-01T00:00:00Z"), now=NOW)

    assert report.refused_older == 4
    assert row().enroll_by == datetime(2028, 9, 1, tzinfo=UTC)


@pytest.mark.on_every_engine
def test_versions_of_different_catalogs_are_not_compared_but_the_fetches_are() -> None:
    bring_in(enrolling_by("2028-09-01T00:00:00Z", synced=LATER))

    later = enrolling_by("2028-01-01T00:00:00Z", synced=BEFORE)
    bring_in(later, catalog_uuid=OTHER_CATALOG, now=NOW + HOUR)

    assert row().enroll_by == datetime(2028, 1, 1, tzinfo=UTC)
    assert row().fetched_from == f"listing:{OTHER_CATALOG}"
    held_in = row().memberships.values_list("catalog_uuid", flat=True)
    assert set(held_in) == {CATALOG, OTHER_CATALOG}


def test_a_second_catalog_that_agrees_leaves_the_first_ones_version() -> None:
    bring_in(a_course())

    report = bring_in(a_course(synced=LATER), catalog_uuid=OTHER_CATALOG, now=NOW + HOUR)

    assert report.unchanged == 4
    assert row().fetched_from == f"listing:{CATALOG}"
    assert row().upstream_modified == datetime.fromisoformat(a_course()["content_last_modified"])
    assert row().checked_at == NOW + HOUR


def test_a_thin_record_never_overwrites_a_full_one_nor_sets_a_price() -> None:
    bring_in(a_course())

    report = bring_in(a_thin_course(synced=LATER), now=NOW + HOUR)

    assert report.refused_thin == 1 + len(a_thin_course()["course_runs"])
    assert (row().completeness, row().price_cents, row().advertised_run) == ("full", 14900, RUNS[2])
    assert (row().checked_at, row().fresh_until) == (NOW + HOUR, NOW + 6 * HOUR)
    assert not ContentChange.objects.exists()


def test_a_thin_record_alone_sets_no_price() -> None:
    bring_in(a_thin_course())

    assert (row().completeness, row().price_cents) == ("thin", None)


def test_of_two_copies_in_one_answer_the_newest_is_stored_in_either_order() -> None:
    newer = enrolling_by("2028-09-01T00:00:00Z", synced=LATER)
    older = enrolling_by("2028-01-01T00:00:00Z", synced=BEFORE)

    for catalog_uuid, records in [(CATALOG, [newer, older]), (OTHER_CATALOG, [older, newer])]:
        report = bring_in(*records, catalog_uuid=catalog_uuid)
        assert (row().enroll_by, report.refused_older) == (datetime(2028, 9, 1, tzinfo=UTC), 4)

    assert not ContentChange.objects.exists()


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
@pytest.mark.parametrize("run_first", [True, False], ids=["run first", "course first"])
def test_a_run_nested_in_its_course_wins_over_its_own_record(together: bool, run_first: bool) -> None:
    run = a_run(synced=LATER, title="Of the run's own record")
    records = [run, a_course()] if run_first else [a_course(), run]

    for batch in [records] if together else [[record] for record in records]:
        bring_in(*batch)

    stored = row(RUNS[2])
    assert (stored.title, stored.completeness) == (a_course()["title"], "full")
    assert (stored.price_cents, stored.parent_key) == (14900, COURSE)


def test_a_run_refers_by_key_to_a_course_that_is_not_known() -> None:
    orphan = a_run(key="course-v1:GlobeX+C109+hidden")
    bring_in(orphan)
    assert row(orphan["key"]).parent_key == COURSE

    bring_in(a_course(), orphan, now=NOW + HOUR)

    assert row(orphan["key"]).parent_key == COURSE
    assert history() == {}


def test_a_run_does_not_lose_its_course_to_a_record_that_does_not_name_it() -> None:
    hidden = a_run(key="course-v1:GlobeX+C109+hidden")
    bring_in(a_course(), hidden)

    bring_in(a_run(key=hidden["key"], parent_content_key=None, aggregation_key=None), now=NOW + HOUR)

    assert row(hidden["key"]).parent_key == COURSE
    assert history() == {}


def test_a_key_does_not_change_its_type() -> None:
    bring_in(a_course())

    report = bring_in(a_run(key=COURSE), now=NOW + HOUR)

    assert [(one.key, one.reason) for one in report.unparsable] == [(COURSE, "content_type_changed")]
    assert report.listed == 0
    assert row().content_type == "course"


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (datetime(2027, 1, 20, 12, tzinfo=UTC), "2027-01-20T12:00:00+00:00"),
        (7, 7),
        (None, None),
    ],
)
def test_a_changed_value_is_recorded_as_json_has_it(value: object, as_json: object) -> None:
    assert merge.plain(value) == as_json
