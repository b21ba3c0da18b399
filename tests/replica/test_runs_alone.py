"""A catalog that holds runs without their course: they are its own, as it lists them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from bursary.assignments import allocation
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import reads, refresh
from bursary.replica.models import CatalogMembership, ContentChange, RefreshTrigger
from tests.replica.listing import (
    CATALOG,
    COURSE,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    SYNCED,
    Record,
    a_course,
    a_run,
    a_thin_course,
)
from tests.replica.replicated import HOUR, bring_in, history, row
from tests.replica.upstream import Upstream, courses, listing_of
from tests.world import ALICE, allocate, given_budget

pytestmark = pytest.mark.django_db

ALONE = RUNS[2]


def test_a_run_that_a_catalog_lists_is_held_and_refers_to_its_course_by_key() -> None:
    report = bring_in(a_run())

    assert (report.listed, row(ALONE).parent_key) == (1, COURSE)
    assert CatalogMembership.objects.get().via_course == ""
    assert [one.content_key for one in reads.held_by(CATALOG)] == [ALONE]


@pytest.mark.parametrize(
    ("served", "completeness"),
    [
        ([a_run()], None),
        ([a_run(), a_thin_course()], None),
        ([a_thin_course()], None),
        ([a_run(), a_course()], "full"),
        ([a_course()], "full"),
    ],
    ids=["alone", "thin course", "thin course alone", "course", "course alone"],
)
@pytest.mark.parametrize("known", [[a_run()], []], ids=["known", "unknown"])
def test_it_is_fetched_by_key_before_it_is_allocated_and_nothing_thin_is(
    tmp_path: Path, settings: Settings, known: list[Record], served: list[Record], completeness: str | None
) -> None:
    settings.CATALOG_URL = (file := tmp_path / "catalog.jsonl").as_uri()
    file.write_text("\n".join(json.dumps(record) for record in served))
    bring_in(*known)

    try:
        content = reads.content_for(ALONE, catalog_uuid=CATALOG, now=NOW + HOUR)
    except reads.ContentUnavailable:
        assert completeness is None
    else:
        assert (content, content.completeness) == (row(ALONE), completeness)
        assert content.price_cents is not None


def test_an_allocation_of_it_waits_for_its_price(tmp_path: Path, settings: Settings) -> None:
    settings.CATALOG_URL = (file := tmp_path / "catalog.jsonl").as_uri()
    file.write_text(json.dumps(a_run()))
    bring_in(a_run())
    budget = given_budget(catalog_uuid=CATALOG)
    asked: dict[str, Any] = {"content_key": ALONE, "price_cents": 14_900, "entries": [ALICE], "now": NOW}

    for decide in (allocation.preview, allocation.allocate):
        with pytest.raises(reads.ContentUnavailable):
            decide(budget, **asked)
    assert not LearnerContentAssignment.objects.exists()


def test_it_is_refreshed_by_its_own_key() -> None:
    upstream = Upstream([a_run()])
    listing_of(upstream)
    due_at = row(ALONE).due_at
    assert due_at is not None

    refresh.refresh_due(clock=lambda: due_at, source=upstream, limit=10)

    assert upstream.questions == [(ALONE,)]
    assert row(ALONE).due_at == due_at + timedelta(hours=6)


def test_it_leaves_its_catalog_as_a_course_does_and_stays_where_its_course_names_it() -> None:
    bring_in(a_course(), catalog_uuid=OTHER_CATALOG)
    other = a_run(key=f"course-v1:{COURSE}+other")
    bring_in(a_run(), other)
    for hours in (1, 3):
        report = bring_in(other, now=NOW + hours * HOUR)

    assert report.ended == 1
    assert not reads.held_by(CATALOG).filter(content_key=ALONE).exists()
    assert reads.held_by(OTHER_CATALOG).filter(content_key=ALONE).exists()
    assert row(ALONE).gone_at is None


def without_it(*, synced: str = SYNCED) -> Record:
    """Return the course without the run."""
    course = a_course(synced=synced)
    return course | {"course_runs": [run for run in course["course_runs"] if run["key"] != ALONE]}


def test_what_its_course_says_of_it_stands_as_long_as_the_course_names_it() -> None:
    bring_in(a_course(), catalog_uuid=OTHER_CATALOG)

    for hours in (1, 2):
        report = bring_in(a_run(title="Its own"), now=NOW + hours * HOUR)
        assert (report.refused_thin, history()) == (1, {})
    assert row(ALONE).price_cents is not None


def test_what_a_catalog_lists_beside_its_course_is_as_the_course_has_it_in_any_order() -> None:
    for hours in range(3):
        for record in (a_run(title="Its own"), a_course(), a_run(title="Its own")):
            refresh.refresh_keys(
                [COURSE, ALONE],
                catalog_uuid=CATALOG,
                source=Upstream([record]),
                now=NOW + hours * HOUR,
                trigger=RefreshTrigger.CRON,
            )

    assert (row(ALONE).completeness, row(ALONE).title) == ("full", row().title)
    assert ContentChange.objects.filter(field="title").count() == 1


@pytest.mark.parametrize("course", [without_it(), None], ids=["course without it", "no course"])
def test_a_run_that_no_course_names_any_more_is_as_its_own_record_has_it(course: Record | None) -> None:
    elsewhere = Upstream([a_course(), *courses(5)])
    listing_of(elsewhere, catalog_uuid=OTHER_CATALOG)
    bring_in(a_run())
    elsewhere.records[:1] = [course] if course else []
    for hours in (2, 4):
        listing_of(elsewhere, catalog_uuid=OTHER_CATALOG, now=NOW + hours * HOUR)

    bring_in(a_run(enrollment_end="2027-02-02T00:00:00Z"), now=NOW + 5 * HOUR)

    run = row(ALONE)
    assert (run.completeness, run.price_cents, run.gone_at) == ("thin", None, None)
    assert run.enroll_by == datetime(2027, 2, 2, tzinfo=UTC)
    assert row(ALONE).checked_at == NOW + 5 * HOUR

    bring_in(a_course(), catalog_uuid=OTHER_CATALOG, now=NOW + 6 * HOUR)
    assert row(ALONE).completeness == "full"


def test_a_run_that_goes_to_another_course_takes_its_deadline_along() -> None:
    course = a_course()
    only = [run for run in course["course_runs"] if run["key"] == ALONE]
    bring_in(course | {"course_runs": only})
    budget = given_budget(catalog_uuid=CATALOG, allocation_age_days=3650)
    allocate(budget, row(), ALICE, now=NOW, price_cents=14_900)
    late = a_run(enrollment_end="2028-02-02T00:00:00Z")
    for hours in (1, 2):
        bring_in(a_course(synced=LATER) | {"course_runs": []}, late, now=NOW + hours * HOUR)

    def join_by() -> datetime:
        return LearnerContentAssignment.objects.get().content_enroll_by

    assert join_by() == datetime(2028, 2, 2, tzinfo=UTC)
    moved = {"parent_content_key": "OtherX+1", "aggregation_key": "courserun:OtherX+1"}
    bring_in(late | moved, now=NOW + 3 * HOUR)

    assert row(ALONE).parent_key == "OtherX+1"
    assert join_by() == row().enroll_by


def test_an_older_fetch_of_its_own_record_changes_nothing() -> None:
    bring_in(a_course(), a_run(), now=NOW + 4 * HOUR)
    bring_in(without_it(synced=LATER), now=NOW + 5 * HOUR)

    bring_in(a_run(title="Older"), now=NOW + 2 * HOUR)

    assert (row(ALONE).completeness, row(ALONE).checked_at) == ("full", NOW + 4 * HOUR)


def test_what_a_catalog_lists_itself_does_not_end_with_a_course_that_names_it_no_more() -> None:
    bring_in(a_course(), a_run())
    assert CatalogMembership.objects.get(content=row(ALONE)).via_course == ""

    report = bring_in(without_it(), a_run(), now=NOW + HOUR)

    assert (report.listed, report.alarm) == (2, "")
    assert reads.held_by(CATALOG).filter(content_key=ALONE).exists()


def test_what_a_catalog_lists_itself_stays_its_own_where_its_course_is_fetched_alone() -> None:
    bring_in(a_course(), a_run())

    for hours, course in ((1, a_course()), (2, without_it())):
        refresh.refresh_keys(
            [COURSE],
            catalog_uuid=CATALOG,
            source=Upstream([course]),
            now=NOW + hours * HOUR,
            trigger=RefreshTrigger.CRON,
        )
        assert CatalogMembership.objects.get(content=row(ALONE)).via_course == ""
