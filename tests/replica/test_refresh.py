"""What a refresh stores, records and announces."""

from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings

from bursary.catalog.parser import Content
from bursary.catalog.records import UnreadableElement
from bursary.replica import ingest, merge, refresh
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata, RefreshTrigger
from tests.replica.listing import (
    CATALOG,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    Listing,
    a_course,
    enrolling_by,
    recorded,
)
from tests.replica.replicated import HOUR, announcements, bring_in, history, row, runs_of
from tests.replica.upstream import courses

pytestmark = pytest.mark.django_db

# -- What is stored -----------------------------------------------------------------------------------------


@pytest.mark.on_every_engine
def test_everything_that_a_catalog_lists_is_stored_with_runs_under_their_courses() -> None:
    seen: list[int] = []

    report = refresh.refresh_catalog(
        CATALOG,
        source=Listing([*recorded("courses"), *recorded("other-types")]),
        now=NOW,
        trigger=RefreshTrigger.CRON,
        on_progress=seen.append,
    )

    stored = Counter(ContentMetadata.objects.values_list("content_type", flat=True))
    assert stored == {"course": 200, "courserun": 467, "program": 10, "learnerpathway": 3}
    assert not ContentMetadata.objects.filter(content_type="courserun", parent_key="").exists()
    assert not ContentMetadata.objects.exclude(content_type="courserun").exclude(parent_key="").exists()
    held = CatalogMembership.objects.filter(catalog_uuid=CATALOG)
    assert held.filter(content__parent_key="").count() == 213
    assert held.count() == ContentMetadata.objects.count()
    assert (report.created, report.refused_thin, report.unparsable) == (680, 222, ())
    assert (report.records, report.pages) == (435, 9)
    assert seen == [50, 100, 150, 200, 250, 300, 350, 400, 435]


def test_a_course_is_stored_with_what_its_advertised_run_says() -> None:
    bring_in(a_course())

    course = row()
    assert (course.price_cents, course.advertised_run, course.completeness) == (14900, RUNS[2], "full")
    assert course.enroll_by == datetime(2028, 10, 1, 23, 59, 59, tzinfo=UTC)
    assert course.partner_names == ", ".join(partner["name"] for partner in course.partners) != ""
    assert course.payload["key"] == COURSE
    assert (course.trigger, course.fetched_from) == ("cron", f"listing:{CATALOG}")
    assert course.fetched_at == course.checked_at == course.changed_at == NOW
    assert course.fresh_until == NOW + timedelta(hours=6)
    assert course.due_at == course.fresh_until
    assert row(RUNS[2]).due_at is None
    assert [run.content_key for run in runs_of(course).order_by("content_key")] == RUNS


@pytest.mark.on_every_engine
def test_all_that_a_record_decides_is_compared_and_written() -> None:
    columns = {field.name for field in ContentMetadata._meta.get_fields()}

    assert set(merge.COLUMNS) <= columns
    assert {field.name for field in fields(Content)} - {
        "runs",
        "warnings",
        "parent_key",
        "links",
        "paths",
    } <= columns


@pytest.mark.on_every_engine
def test_thin_records_are_stored_without_prices_and_completed_later() -> None:
    thin = bring_in(*recorded("thin-courses"))
    assert thin.created == 43
    assert not ContentMetadata.objects.exclude(price_cents=None).exists()

    full = bring_in(*recorded("courses")[:25], now=NOW + HOUR)  # the twenty, and five more

    assert (full.created, full.changed) == (84 - 43, 43)
    assert history()[COURSE, "completeness"] == ("thin", "full")
    assert history()[COURSE, "price_cents"] == (None, 14900)


@pytest.mark.on_every_engine
def test_hostile_records_leave_their_neighbours_stored() -> None:
    hostile = recorded("hostile")
    neighbours = [a_course(), *recorded("other-types")[-3:]]

    report = bring_in(*hostile, UnreadableElement(position=17, reason="cut off"), None, *neighbours)

    runs = {
        run["key"]
        for course in hostile
        for run in course.get("course_runs", [])
        if "HostileX" in course["key"]
    }
    video = next(record for record in hostile if record["content_type"] == "video")
    expected_runs = runs - {run["key"] for run in video.get("course_runs", [])}
    courses = ContentMetadata.objects.filter(content_key__startswith="HostileX+", content_type="course")
    assert courses.count() == 14
    assert ContentMetadata.objects.filter(parent_key__in=courses.values("content_key")).count() == len(
        expected_runs
    )
    assert runs_of(row()).count() == 3
    assert ContentMetadata.objects.filter(content_type=neighbours[-1]["content_type"]).exists()
    assert [(one.key, one.reason) for one in report.unparsable] == [
        ("HostileX+H10", "unknown_content_type"),
        ("", "not_json"),
        ("", "not_an_object"),
    ]
    assert report.records == len(hostile) + 2 + len(neighbours)


@pytest.mark.on_every_engine
def test_a_record_that_the_database_refuses_is_named_and_its_neighbours_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    column_values = merge.column_values
    bring_in(a_course(title="As it was"))

    def with_one_bad_price(content: Content) -> dict[str, Any]:
        return column_values(content) | ({"price_cents": -1} if content.content_key == COURSE else {})

    monkeypatch.setattr(merge, "column_values", with_one_bad_price)
    report = bring_in(*recorded("courses")[:10], now=NOW + HOUR)

    assert [(one.key, one.reason) for one in report.unparsable] == [(COURSE, "not_storable")]
    assert ContentMetadata.objects.filter(content_type="course").count() == 10
    assert row().price_cents == 14900
    assert row().failures == 1
    assert row().last_error.startswith("not_storable: ")


@pytest.mark.on_every_engine
def test_a_new_record_that_the_database_refuses_is_not_there_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    column_values = merge.column_values
    monkeypatch.setattr(merge, "column_values", lambda content: column_values(content) | {"price_cents": -1})

    report = bring_in(a_course())

    assert [one.key for one in report.unparsable] == [COURSE]
    assert not ContentMetadata.objects.exists()
    assert not CatalogMembership.objects.exists()


def test_an_unusable_record_leaves_the_last_good_one_and_says_why() -> None:
    bring_in(a_course())

    bring_in(a_course(content_type="video"), now=NOW + HOUR)

    assert (row().title, row().checked_at, row().failures) == (a_course()["title"], NOW, 1)
    assert row().last_error.startswith("unknown_content_type: ")
    bring_in(a_course(), now=NOW + 2 * HOUR)
    assert (row().failures, row().last_error) == (0, "")


def test_a_report_names_few_and_counts_all() -> None:
    report = refresh.refresh_catalog(
        CATALOG, source=Listing([None] * 620), now=NOW, trigger=RefreshTrigger.CRON
    )

    assert (report.unparsable_total, len(report.unparsable)) == (620, 500)
    assert report.unparsable_total == 620
    assert report.records == 620


# -- What is recorded ---------------------------------------------------------------------------------------


@pytest.mark.on_every_engine
def test_a_changed_date_is_recorded_once_with_old_and_new_and_announced() -> None:
    bring_in(a_course())

    with announcements() as announced:
        report = bring_in(enrolling_by("2028-09-01T00:00:00Z", synced=LATER), now=NOW + HOUR)

    dates = ("2028-10-01T23:59:59+00:00", "2028-09-01T00:00:00+00:00")
    assert history() == {(COURSE, "enroll_by"): dates, (RUNS[2], "enroll_by"): dates}
    change = ContentChange.objects.earliest("id")
    assert (change.trigger, change.created) == ("cron", NOW + HOUR)
    assert (report.changed, report.unchanged) == (2, 2)
    assert [sorted(one["pks"]) for one in announced] == [sorted([row().pk, row(RUNS[2]).pk])]
    assert [one["now"] for one in announced] == [NOW + HOUR]
    assert (row().fetched_at, row().changed_at) == (NOW + HOUR, NOW + HOUR)
    assert row().payload["normalized_metadata"]["enroll_by_date"] == "2028-09-01T00:00:00Z"


def test_new_content_is_announced_and_has_no_history() -> None:
    with announcements() as announced:
        bring_in(*courses(ingest.BATCH + 1))

    assert sorted(pk for one in announced for pk in one["pks"]) == sorted(
        ContentMetadata.objects.values_list("pk", flat=True)
    )
    assert len(announced) == 2
    assert not ContentChange.objects.exists()


def test_a_column_outside_the_digest_changes_without_its_payload() -> None:
    bring_in(a_course(active=True))

    with announcements() as announced:
        bring_in(a_course(active=False, synced=LATER), now=NOW + HOUR)

    assert history() == {(COURSE, "active"): (True, False)}
    assert row().active is False
    assert (row().payload["active"], row().changed_at) == (True, NOW)
    assert [one["pks"] for one in announced] == [[row().pk]]


@pytest.mark.on_every_engine
def test_what_a_receiver_raises_rolls_the_batch_back_and_leaves_earlier_ones() -> None:
    bring_in(a_course())

    def refuse(**_announcement: Any) -> None:
        raise ZeroDivisionError

    refresh.content_changed.connect(refuse)
    try:
        with pytest.raises(ZeroDivisionError):
            bring_in(enrolling_by("2028-09-01T00:00:00Z", synced=LATER), now=NOW + HOUR)
    finally:
        refresh.content_changed.disconnect(refuse)

    assert row().enroll_by == datetime(2028, 10, 1, 23, 59, 59, tzinfo=UTC)
    assert row().checked_at == NOW
    assert not ContentChange.objects.exists()


def test_a_fetch_ends_a_request_from_before_it_and_leaves_a_later_one() -> None:
    bring_in(a_course())
    ContentMetadata.objects.filter(content_key=COURSE).update(due_at=NOW + HOUR, gone_at=NOW)
    ContentMetadata.objects.filter(content_key=RUNS[0]).update(due_at=NOW + 3 * HOUR)

    bring_in(a_course(), now=NOW + 2 * HOUR)

    assert (row().due_at, row().gone_at) == (NOW + 8 * HOUR, None)
    assert row(RUNS[0]).due_at == NOW + 3 * HOUR


# -- How it is done -----------------------------------------------------------------------------------------


@pytest.mark.on_every_engine
def test_a_dry_run_counts_and_writes_nothing() -> None:
    bring_in(a_course())
    changed = enrolling_by("2028-09-01T00:00:00Z", synced=LATER)

    with announcements() as announced:
        report = refresh.refresh_catalog(
            CATALOG,
            source=Listing([changed, *recorded("hostile")]),
            now=NOW + HOUR,
            trigger=RefreshTrigger.CRON,
            dry_run=True,
        )

    assert (report.changed, report.unchanged, report.unparsable_total) == (2, 2, 1)
    assert report.created > 14
    assert announced == []
    assert ContentMetadata.objects.count() == 4
    assert (row().checked_at, row().enroll_by) == (NOW, datetime(2028, 10, 1, 23, 59, 59, tzinfo=UTC))


def test_what_came_before_upstream_fell_silent_stays() -> None:
    source = Listing(courses(3 * ingest.BATCH), silent_after=2)

    with pytest.raises(refresh.ContentUnavailable) as silence:
        refresh.refresh_catalog(CATALOG, source=source, now=NOW, trigger=RefreshTrigger.CRON)

    assert silence.value.reason == "catalog_unavailable"
    assert silence.value.so_far.records == 100
    assert ContentMetadata.objects.filter(content_type="course").count() == 100


def test_content_is_brought_in_by_key_and_a_run_comes_with_its_course() -> None:
    source = Listing(recorded("courses"))

    report = refresh.refresh_keys(
        [RUNS[0], "NobodyX+N1"], catalog_uuid=CATALOG, source=source, now=NOW, trigger=RefreshTrigger.EVENT
    )

    assert source.asked == ["NobodyX+N1", RUNS[0]]
    assert report.created == 4
    assert (row(RUNS[0]).parent_key, row().trigger) == (COURSE, "event")


def test_the_configured_catalog_is_opened_once(settings: LazySettings) -> None:
    settings.CATALOG_URL = "file:///srv/catalogs/"

    assert refresh.configured_source() is refresh.configured_source()
    assert refresh.configured_source().name == "folder"


def test_a_run_that_its_course_names_no_more_is_gone_at_once_and_keeps_what_it_said() -> None:
    """Upstream hides it, or keeps it for other catalogs; runs that are over it goes on listing."""
    bring_in(a_course())
    before = row(RUNS[2])
    shorter = a_course(synced=LATER)
    shorter["course_runs"] = [run for run in shorter["course_runs"] if run["key"] != RUNS[2]]
    later = NOW + timedelta(hours=6)

    bring_in(shorter, now=later)

    run = row(RUNS[2])
    kept = ("enroll_by", "start_date", "price_cents", "active", "parent_key")
    assert [getattr(run, name) for name in kept] == [getattr(before, name) for name in kept]
    assert (run.checked_at, row().checked_at, row(RUNS[0]).checked_at) == (NOW, later, later)
    assert run.gone_at == later
    assert {one.field: (one.old, one.new) for one in ContentChange.objects.filter(content=run)} == {
        "membership": (str(CATALOG), None),
        "gone_at": (None, later.isoformat()),
    }

    bring_in(a_course(), catalog_uuid=OTHER_CATALOG, now=later)
    assert row(RUNS[2]).checked_at == later
