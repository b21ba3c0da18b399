"""Fetches that overlap: an older one that ends later sets nothing back, and no circle of locks closes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction

from bursary.catalog import parser
from bursary.lib.locks import for_update
from bursary.replica import removal
from bursary.replica.models import CatalogListing, CatalogMembership, ContentChange, ContentMetadata
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    LATER,
    NOW,
    OTHER_CATALOG,
    RUNS,
    Record,
    a_course,
    a_thin_course,
)
from tests.replica.replicated import HOUR, bring_in, row
from tests.replica.upstream import Upstream, given_catalog, listing_of
from tests.together import until_a_lock_is_waited_for

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_an_older_listing_that_ends_later_sets_nothing_back() -> None:
    upstream = given_catalog()
    listing_of(upstream, now=NOW + 2 * DAY)
    upstream.records = upstream.records[:24]

    report = listing_of(upstream, now=NOW + DAY)

    state = CatalogListing.objects.get()
    assert (state.started_at, state.listed, report.alarm) == (NOW + 2 * DAY, 30, "")
    assert set(CatalogMembership.objects.values_list("seen_at", flat=True)) == {NOW + 2 * DAY}


def test_an_unusable_record_of_a_slow_fetch_does_not_set_back_when_its_course_was_last_seen() -> None:
    bring_in(a_course())
    bring_in(a_course(), now=NOW + 2 * HOUR)

    bring_in(a_course(content_type="video"), now=NOW + HOUR)

    assert CatalogMembership.objects.get(content=row()).seen_at == NOW + 2 * HOUR


def test_an_older_listing_that_ends_later_does_not_end_an_alarm() -> None:
    upstream = given_catalog()
    whole, upstream.records = upstream.records, []
    alarm = listing_of(upstream, now=NOW + 2 * DAY).alarm
    upstream.records = whole

    listing_of(upstream, now=NOW + DAY)
    assert removal.alarms() == {CATALOG: alarm}

    listing_of(upstream, now=NOW + DAY, accept_drop=True)
    assert removal.alarms() == {}


def test_what_an_older_fetch_saw_does_not_undo_that_a_later_one_missed_it() -> None:
    upstream = given_catalog()
    course = upstream.records.pop(0)
    listing_of(upstream, now=NOW + 2 * DAY)

    listing_of(Upstream([course, *upstream.records]), now=NOW + DAY)

    membership = CatalogMembership.objects.get(content=row())
    assert (membership.seen_at, membership.missing_since) == (NOW + DAY, NOW + 2 * DAY)
    assert listing_of(upstream, now=NOW + 3 * DAY).ended == 1


def test_what_an_older_fetch_could_not_use_does_not_undo_it_either() -> None:
    upstream = given_catalog()
    del upstream.records[0]
    listing_of(upstream, now=NOW + 2 * DAY)

    listing_of(Upstream([a_course(content_type="video"), *upstream.records]), now=NOW + DAY)

    membership = CatalogMembership.objects.get(content=row())
    assert (membership.seen_at, membership.missing_since) == (NOW + DAY, NOW + 2 * DAY)


def test_a_run_that_only_an_older_fetch_still_names_stays_gone() -> None:
    bring_in(a_course())
    shorter = a_course(synced=LATER)
    shorter["course_runs"] = [run for run in shorter["course_runs"] if run["key"] != RUNS[2]]
    bring_in(shorter, now=NOW + 6 * HOUR)
    recorded = ContentChange.objects.count()

    bring_in(a_course(), now=NOW + 6 * HOUR)
    bring_in(a_course(), now=NOW + 5 * HOUR)

    assert row(RUNS[2]).gone_at == NOW + 6 * HOUR
    assert not CatalogMembership.objects.filter(content=row(RUNS[2])).exists()
    assert ContentChange.objects.count() == recorded


@pytest.mark.parametrize("record", [a_course(synced=LATER), a_thin_course()], ids=["newer", "thin"])
def test_a_slow_fetch_does_not_set_back_when_the_row_was_last_confirmed(record: Record) -> None:
    bring_in(a_course(synced=BEFORE))
    bring_in(a_course(synced=BEFORE), catalog_uuid=OTHER_CATALOG, now=NOW + 2 * HOUR)

    bring_in(record, now=NOW + HOUR)

    assert (row().checked_at, row().due_at) == (NOW + 2 * HOUR, NOW + 8 * HOUR)
    assert row().fresh_until == NOW + 8 * HOUR


@pytest.mark.needs_row_locks
@pytest.mark.django_db(transaction=True)
def test_recording_missing_content_waits_for_its_lock_before_touching_a_membership() -> None:
    upstream = given_catalog()
    missed = [parser.own_key(record) for record in upstream.records[:2]]
    upstream.records = upstream.records[2:]
    listing_of(upstream, now=NOW + DAY)
    # One of them is confirmed by the next lookup, the other missed for the first time.
    CatalogMembership.objects.filter(content__content_key=missed[1]).update(missing_since=None)

    with ThreadPoolExecutor(1) as thread, transaction.atomic():
        list(for_update(ContentMetadata.objects.filter(content_key__in=missed)))
        missing = thread.submit(_in_a_thread, lambda: listing_of(upstream, now=NOW + 2 * DAY))
        until_a_lock_is_waited_for()
        held = CatalogMembership.objects.filter(content__content_key__in=missed)
        of = ("self",) if connection.features.has_select_for_update_of else ()
        assert len(held.select_for_update(nowait=True, of=of)) == 2
    assert missing.result(timeout=120).ended == 1


def _in_a_thread(work: Callable[[], RefreshReport]) -> RefreshReport:
    try:
        return work()
    finally:
        connection.close()
