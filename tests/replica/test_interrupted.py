"""An interrupted listing is resumed where it was."""

import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from bursary.replica import refresh
from bursary.replica.models import CatalogListing, CatalogMembership, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import CATALOG, Upstream, enterprise_catalog
from tests.replica.listing import NOW, OTHER_CATALOG, Listing
from tests.replica.replicated import over_http, row
from tests.replica.upstream import courses

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
RECORDS = courses(120)


class Killed(Exception):
    """The process ended."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with enterprise_catalog(RECORDS) as running:
        yield running


def read(
    upstream: Upstream, *, now: datetime, killed_after: int = 1000, resume: bool = True
) -> RefreshReport:
    """Read the catalog as a process of its own would."""
    upstream.requests.clear()

    def die(records: int) -> None:
        if records >= killed_after:
            raise Killed

    return refresh.refresh_catalog(
        CATALOG,
        source=over_http(upstream),
        now=now,
        trigger=RefreshTrigger.CRON,
        resume=resume,
        on_progress=die,
    )


def fetched(upstream: Upstream) -> set[str]:
    return {key for asked in upstream.asked("get_content_metadata") for key in asked.keys}


def stored() -> set[str]:
    return set(ContentMetadata.objects.filter(content_type="course").values_list("content_key", flat=True))


def test_only_what_was_not_read_before_is_fetched(upstream: Upstream) -> None:
    with pytest.raises(Killed):
        read(upstream, now=NOW, killed_after=100)
    before = stored()
    assert len(before) == 100

    report = read(upstream, now=NOW + HOUR)

    assert fetched(upstream) == {record["key"] for record in RECORDS} - before
    assert (report.records, report.passed_over, report.listed, report.alarm) == (20, 100, 120, "")
    assert len(stored()) == 120
    listing = CatalogListing.objects.get()
    assert (listing.started_at, listing.listed, listing.begun_at) == (NOW, 120, None)


def test_what_left_meanwhile_is_asked_for_and_what_was_read_is_not_taken_for_missing(
    upstream: Upstream,
) -> None:
    read(upstream, now=NOW)
    gone = RECORDS[7]["key"]
    upstream.remove(gone)
    with pytest.raises(Killed):
        read(upstream, now=NOW + HOUR, killed_after=100)

    report = read(upstream, now=NOW + 2 * HOUR)

    assert (report.passed_over, report.missing) == (100, 1)
    missing = CatalogMembership.objects.exclude(missing_since=None)
    assert [one.content.content_key for one in missing.select_related("content")] == [gone]


def test_one_that_ended_before_its_first_record_is_not_gone_on_with(upstream: Upstream) -> None:
    upstream.fails_with(faults.status(503))
    with pytest.raises(refresh.ContentUnavailable):
        read(upstream, now=NOW)
    upstream.recovers()
    source = over_http(upstream)
    key = RECORDS[7]["key"]
    refresh.refresh_keys(
        [key], catalog_uuid=CATALOG, source=source, now=NOW + HOUR, trigger=RefreshTrigger.CRON
    )
    upstream.edit(key, title="Edited")

    report = read(upstream, now=NOW + 2 * HOUR)

    assert (report.records, report.passed_over) == (120, 0)
    assert row(key).title == "Edited"


def test_what_was_asked_for_later_is_newer_however_long_the_reading_takes() -> None:
    keys = [record["key"] for record in RECORDS]
    moments = (NOW + number * timedelta(minutes=1) for number in itertools.count())

    with enterprise_catalog(RECORDS, catalogs={CATALOG: keys, OTHER_CATALOG: keys}) as upstream:
        source = over_http(upstream)

        def after_the_first_page(records: int) -> None:
            if records == 50:
                refresh.refresh_keys(
                    keys,
                    catalog_uuid=OTHER_CATALOG,
                    source=source,
                    now=next(moments),
                    trigger=RefreshTrigger.EVENT,
                )
                for key in keys:
                    upstream.database.edit(key, title="Edited")
                upstream.sync()

        report = refresh.refresh_catalog(
            CATALOG,
            source=source,
            now=next(moments),
            clock=lambda: next(moments),
            trigger=RefreshTrigger.CRON,
            on_progress=after_the_first_page,
        )

    assert report.refused_older == 0
    assert ContentMetadata.objects.filter(content_type="course", title="Edited").count() == 70


def test_once_it_was_read_to_its_end_the_next_reads_everything(upstream: Upstream) -> None:
    with pytest.raises(Killed):
        read(upstream, now=NOW, killed_after=50)
    read(upstream, now=NOW + HOUR)

    report = read(upstream, now=NOW + 2 * HOUR)

    assert (report.records, report.passed_over) == (120, 0)


@pytest.mark.parametrize(("later", "resume"), [(HOUR, False), (7 * HOUR, True)])
def test_it_is_read_anew_when_asked_and_when_it_began_long_ago(
    upstream: Upstream, later: timedelta, resume: bool
) -> None:
    with pytest.raises(Killed):
        read(upstream, now=NOW, killed_after=100)

    report = read(upstream, now=NOW + later, resume=resume)

    assert (report.records, report.passed_over) == (120, 0)


def test_a_listing_that_raised_an_alarm_is_not_resumed() -> None:
    def read_file(records: int, *, now: datetime) -> RefreshReport:
        source = Listing(RECORDS[:records])
        return refresh.refresh_catalog(CATALOG, source=source, now=now, trigger=RefreshTrigger.CRON)

    read_file(120, now=NOW)

    assert read_file(10, now=NOW + HOUR).alarm
    assert CatalogListing.objects.get().begun_at is None


def test_a_dry_run_of_one_that_was_interrupted_judges_everything(upstream: Upstream) -> None:
    with pytest.raises(Killed):
        read(upstream, now=NOW, killed_after=100)

    report = refresh.refresh_catalog(
        CATALOG,
        source=over_http(upstream),
        now=NOW + HOUR,
        trigger=RefreshTrigger.CRON,
        dry_run=True,
    )

    assert (report.records, report.passed_over) == (120, 0)
    assert CatalogListing.objects.get().begun_at == NOW
