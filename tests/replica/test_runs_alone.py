"""A catalog that holds runs without their course: they are its own, as it lists them."""

from datetime import timedelta

import pytest

from bursary.replica import reads, refresh
from bursary.replica.models import CatalogMembership
from tests.replica.listing import CATALOG, COURSE, NOW, OTHER_CATALOG, RUNS, a_course, a_run
from tests.replica.replicated import HOUR, bring_in, row
from tests.replica.upstream import Upstream, listing_of

pytestmark = pytest.mark.django_db

ALONE = RUNS[2]


def test_a_run_that_a_catalog_lists_is_held_and_refers_to_its_course_by_key() -> None:
    report = bring_in(a_run())

    assert (report.listed, row(ALONE).parent_key) == (1, COURSE)
    assert CatalogMembership.objects.get().named_by == ""
    found = reads.content_for(ALONE, catalog_uuid=CATALOG, now=NOW)
    assert found == row(ALONE)
    assert not reads.held_by(CATALOG).filter(content_key=COURSE).exists()


def test_it_is_refreshed_by_its_own_key() -> None:
    upstream = Upstream([a_run()])
    listing_of(upstream)
    due_at = row(ALONE).due_at
    assert due_at is not None

    refresh.refresh_due(clock=lambda: due_at, source=upstream, most=10)

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


def test_what_a_catalog_lists_itself_does_not_end_with_a_course_that_names_it_no_more() -> None:
    bring_in(a_course(), a_run())
    assert CatalogMembership.objects.get(content=row(ALONE)).named_by == ""
    shorter = a_course()
    shorter["course_runs"] = [run for run in shorter["course_runs"] if run["key"] != ALONE]

    report = bring_in(shorter, a_run(), now=NOW + HOUR)

    assert (report.listed, report.alarm) == (2, "")
    assert reads.held_by(CATALOG).filter(content_key=ALONE).exists()
