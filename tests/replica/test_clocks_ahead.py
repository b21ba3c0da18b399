"""Instants from the future, upstream's or our own: they hold nothing up for long."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from bursary.ops import refresh_runs
from bursary.replica import listings, refresh, schedule
from bursary.replica.models import CatalogListing, CatalogMembership, ContentMetadata
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    LATER,
    NOW,
    RUNS,
    a_course,
    a_thin_course,
    enrolling_by,
)
from tests.replica.replicated import HOUR, bring_in, row
from tests.replica.upstream import Upstream, listing_of, look_at_due

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
AHEAD = NOW + 30 * DAY
IN_2099 = "2099-01-01T00:00:00Z"
FIRST, SECOND = "2028-09-01T00:00:00Z", "2028-01-01T00:00:00Z"


def ends() -> Sequence[str]:
    return [f"{row(key).enroll_by:%Y-%m-%dT%H:%M:%SZ}" for key in (COURSE, RUNS[2])]


def test_one_stamp_from_the_future_does_not_freeze_content() -> None:
    bring_in(enrolling_by(FIRST, synced=BEFORE))
    bring_in(enrolling_by(FIRST, synced=IN_2099), now=NOW + HOUR)

    report = bring_in(enrolling_by(SECOND, synced=LATER), now=NOW + 24 * HOUR)

    assert (report.refused_older, ends()) == (0, [SECOND, SECOND])
    assert f"{row().upstream_modified:%Y}" == "2026"


def test_a_stamp_that_is_sane_again_counts_again() -> None:
    bring_in(enrolling_by(FIRST, synced=IN_2099))
    bring_in(enrolling_by(FIRST, synced=LATER), now=NOW + 24 * HOUR)

    report = bring_in(enrolling_by(SECOND, synced=BEFORE), now=NOW + 25 * HOUR)

    assert (report.refused_older, ends()) == (4, [FIRST, FIRST])


def test_a_slow_look_with_a_stamp_from_the_future_gives_way_to_a_later_one() -> None:
    bring_in(enrolling_by(FIRST, synced=BEFORE), now=NOW + HOUR)

    bring_in(enrolling_by(SECOND, synced=IN_2099), now=NOW)

    assert ends() == [FIRST, FIRST]


@pytest.mark.parametrize("record", [a_course(), enrolling_by(SECOND)], ids=["unchanged", "changed"])
def test_the_next_look_sets_right_what_a_clock_that_was_ahead_has_written(record: dict[str, object]) -> None:
    bring_in(a_course(), now=AHEAD)

    bring_in(record, now=NOW)

    assert set(ContentMetadata.objects.values_list("checked_at", flat=True)) == {NOW}
    assert (row().fresh_until, row().due_at) == (NOW + 6 * HOUR, NOW + 6 * HOUR)
    assert CatalogMembership.objects.get().seen_at == NOW
    assert CatalogListing.objects.get().started_at == NOW


def test_what_a_clock_that_was_ahead_made_due_is_looked_at_by_the_tick() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream, now=AHEAD)
    ContentMetadata.objects.filter(content_key=COURSE).update(due_at=AHEAD + 3 * HOUR)  # somebody held it
    assert look_at_due(upstream, now=NOW).records == 0

    assert schedule.bring_back(now=NOW, most=10) == 1
    assert not row().fresh(NOW)
    assert look_at_due(upstream, now=NOW).records == 1

    assert (row().checked_at, row().due_at, row(RUNS[2]).checked_at) == (NOW, NOW + 6 * HOUR, NOW)
    assert schedule.bring_back(now=NOW, most=10) == 0


def test_what_is_refused_as_thin_is_not_due_in_the_future_again() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream, now=AHEAD)
    ContentMetadata.objects.filter(content_key=COURSE).update(due_at=NOW, expected_since=AHEAD)
    upstream.records = [a_thin_course(synced=LATER)]

    look_at_due(upstream, now=NOW)

    assert (row().checked_at, row().due_at, row().expected_since) == (NOW, NOW + 6 * HOUR, None)


def test_what_the_catalog_does_not_have_leaves_it_although_it_was_seen_in_the_future() -> None:
    upstream = Upstream([a_course(), *(a_course() | {"key": f"X+{n}", "course_runs": []} for n in range(9))])
    listing_of(upstream, now=NOW)
    held = CatalogMembership.objects.filter(content__content_key=COURSE)
    held.update(seen_at=AHEAD)
    upstream.records = upstream.records[1:]

    for hour in range(0, 96, 24):
        ContentMetadata.objects.filter(content_key=COURSE).update(due_at=NOW)
        look_at_due(upstream, now=NOW + (hour + 1) * HOUR)
        listing_of(upstream, now=NOW + (hour + 2) * HOUR)

    assert not held.exists()


def test_rows_that_may_be_due_so_late_stay_and_no_more_are_brought_back_than_asked_for() -> None:
    bring_in(*(a_course() | {"key": f"X+{number}", "course_runs": []} for number in range(3)))
    latest = NOW + 2 * DAY
    ContentMetadata.objects.update(due_at=latest)
    assert schedule.bring_back(now=NOW, most=10) == 0

    ContentMetadata.objects.update(due_at=latest + HOUR)
    assert schedule.bring_back(now=NOW, most=10) == 3


def test_a_skew_between_machines_lets_no_older_look_overwrite_a_later_one() -> None:
    bring_in(enrolling_by(FIRST), now=NOW + timedelta(seconds=5))
    before = ContentMetadata.objects.order_by("pk").values("pk", "checked_at", "fresh_until", "due_at")
    was = list(before)

    bring_in(enrolling_by(SECOND), now=NOW)

    assert ends() == [FIRST, FIRST]
    assert list(before.all()) == was


def test_a_listing_that_a_clock_ahead_made_due_is_due_at_once() -> None:
    CatalogListing.objects.create(catalog_uuid=CATALOG, due_at=AHEAD)

    claimed = listings.claim([CATALOG], now=NOW)

    assert claimed is not None
    assert listings.claim([CATALOG], now=NOW) is None


@pytest.mark.parametrize("how", ["tick", "stale"])
def test_ticks_and_the_command_look_at_it(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream, now=AHEAD)
    monkeypatch.setattr(refresh, "configured_source", lambda: upstream)

    if how == "tick":
        done = refresh_runs.refresh_run(clock=lambda: NOW)
        assert (done.brought_forward, done.due.records) == (1, 1)
    else:
        assert refresh_runs.refresh_stale(clock=lambda: NOW, advance=lambda _records: None).records == 1

    assert not ContentMetadata.objects.filter(checked_at__gt=NOW).exists()
