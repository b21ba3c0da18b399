"""Content that is served again is there again, whatever its record says; and that is recorded."""

from datetime import timedelta

import pytest

from bursary.catalog import parser
from bursary.replica import merge, reads
from bursary.replica.models import CatalogMembership, ContentChange
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    NOW,
    OTHER_CATALOG,
    RUNS,
    Record,
    a_course,
    a_thin_course,
)
from tests.replica.replicated import announcements, history, row
from tests.replica.upstream import Upstream, given_catalog, listing_of

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_it_comes_back_and_is_announced() -> None:
    upstream = given_catalog()
    course = upstream.records.pop(0)
    listing_of(upstream, now=NOW + DAY)
    listing_of(upstream, now=NOW + 2 * DAY)
    upstream.records.append(course)

    with announcements() as announced:
        listing_of(upstream, now=NOW + 3 * DAY)

    assert (row().gone_at, row(RUNS[0]).gone_at, CatalogMembership.objects.filter(via_course="").count()) == (
        None,
        None,
        30,
    )
    assert row().pk in announced[0]["pks"]
    back = ContentChange.objects.filter(content=row(), field="gone_at").latest("pk")
    assert (back.old, back.new) == ((NOW + 2 * DAY).isoformat(), None)


def given_gone() -> tuple[Upstream, Record]:
    """Return a catalog that the course has left, and the course."""
    upstream = given_catalog()
    del upstream.records[0]
    for days in (1, 2):
        listing_of(upstream, now=NOW + days * DAY)
    assert row().gone_at == NOW + 2 * DAY
    ContentChange.objects.all().update(created=NOW)
    return upstream, a_course()


def changes_since_then() -> set[tuple[str, str, object, object]]:
    rows = ContentChange.objects.filter(created__gt=NOW)
    return set(rows.values_list("content__content_key", "field", "old", "new"))


def test_its_return_is_recorded_as_its_removal_was() -> None:
    upstream, course = given_gone()
    upstream.records.append(course)

    listing_of(upstream, now=NOW + 3 * DAY)
    listing_of(upstream, now=NOW + 4 * DAY)

    gone_at = (NOW + 2 * DAY).isoformat()
    assert changes_since_then() == {
        *((key, "membership", None, str(CATALOG)) for key in (COURSE, *RUNS)),
        *((key, "gone_at", gone_at, None) for key in (COURSE, *RUNS)),
    }
    assert ContentChange.objects.filter(created__gt=NOW).count() == 8


def test_what_comes_back_thin_is_there_and_keeps_what_the_full_record_said() -> None:
    upstream, _course = given_gone()
    said = merge.column_values(parser.parse(a_course()))
    upstream.records.append(a_thin_course())

    with announcements() as announced:
        report = listing_of(upstream, now=NOW + 3 * DAY)

    served = {COURSE, *(run["key"] for run in a_thin_course()["course_runs"])}
    known = [key for key in (COURSE, *RUNS) if key in served]
    assert report.refused_thin == len(known) > 1
    assert row().gone_at is None
    # A search hit does not say which runs the catalog may have: its full record brings them back.
    assert {row(key).gone_at for key in known[1:]} == {NOW + 2 * DAY}
    assert {name: getattr(row(), name) for name in merge.COLUMNS} == said
    assert (COURSE, "gone_at", (NOW + 2 * DAY).isoformat(), None) in changes_since_then()
    assert (COURSE, "membership", None, str(CATALOG)) in changes_since_then()
    assert [one["pks"] for one in announced if row().pk in one["pks"]]
    assert reads.held_by(CATALOG).filter(content_key=COURSE).exists()


def test_what_comes_back_in_an_older_record_is_there_too() -> None:
    upstream, course = given_gone()
    upstream.records.append(course | {"content_last_modified": BEFORE, "title": "Older"})

    report = listing_of(upstream, now=NOW + 3 * DAY)

    assert (report.refused_older, row().gone_at, row().title) == (4, None, course["title"])


def test_a_return_to_one_catalog_of_two_is_recorded_and_announced() -> None:
    upstream = given_catalog()
    given_catalog(catalog_uuid=OTHER_CATALOG)
    course = upstream.records.pop(0)
    for days in (1, 2):
        listing_of(upstream, now=NOW + days * DAY)
    ContentChange.objects.all().update(created=NOW)
    upstream.records.append(course)

    with announcements() as announced:
        listing_of(upstream, now=NOW + 3 * DAY)

    assert changes_since_then() == {(key, "membership", None, str(CATALOG)) for key in (COURSE, *RUNS)}
    assert [one["pks"] for one in announced] == [sorted(row(key).pk for key in (COURSE, *RUNS))]


def test_content_that_another_catalog_lists_for_the_first_time_has_not_returned() -> None:
    given_catalog()

    with announcements() as announced:
        given_catalog(catalog_uuid=OTHER_CATALOG)

    assert (announced, history()) == ([], {})
