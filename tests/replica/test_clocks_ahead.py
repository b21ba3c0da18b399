"""Instants from the future, upstream's or the replica's: they freeze nothing for long."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from bursary.lib.leases import NOT_BEFORE
from bursary.replica import schedule
from bursary.replica.models import CatalogListing, ContentMetadata
from tests.replica.listing import (
    BEFORE,
    CATALOG,
    COURSE,
    LATER,
    NOW,
    RUNS,
    a_course,
    enrolling_by,
)
from tests.replica.replicated import HOUR, bring_in, row
from tests.replica.upstream import Upstream, listing_of, refresh_rows_due

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
AHEAD = NOW + 40 * DAY
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


def test_a_slow_fetch_with_a_stamp_from_the_future_gives_way_to_a_later_one() -> None:
    bring_in(enrolling_by(FIRST, synced=BEFORE), now=NOW + HOUR)

    bring_in(enrolling_by(SECOND, synced=IN_2099), now=NOW)

    assert ends() == [FIRST, FIRST]


@pytest.mark.parametrize("record", [a_course(), enrolling_by(SECOND)], ids=["unchanged", "changed"])
def test_the_next_fetch_corrects_rows_that_a_clock_ahead_has_written(record: dict[str, object]) -> None:
    bring_in(a_course(), now=AHEAD)

    bring_in(record, now=NOW)

    assert set(ContentMetadata.objects.values_list("checked_at", flat=True)) == {NOW}
    assert (row().fresh_until, row().due_at) == (NOW + 6 * HOUR, NOW + 6 * HOUR)


def test_content_that_a_clock_ahead_made_due_is_due_at_once() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    ContentMetadata.objects.filter(content_key=COURSE).update(due_at=AHEAD)

    assert refresh_rows_due(upstream, now=NOW + HOUR).records == 1
    assert row().due_at == NOW + 7 * HOUR


def test_a_skew_between_machines_lets_no_older_fetch_overwrite_a_later_one() -> None:
    bring_in(enrolling_by(FIRST), now=NOW + timedelta(seconds=5))
    before = ContentMetadata.objects.order_by("pk").values("pk", "checked_at", "fresh_until", "due_at")
    was = list(before)

    bring_in(enrolling_by(SECOND), now=NOW)

    assert ends() == [FIRST, FIRST]
    assert list(before.all()) == was


def test_a_listing_that_a_clock_ahead_made_due_is_due_at_once() -> None:
    CatalogListing.objects.create(catalog_uuid=CATALOG, due_at=AHEAD, early=NOT_BEFORE)

    claimed = schedule.claim_listing([CATALOG], now=NOW)

    assert claimed is not None
    assert schedule.claim_listing([CATALOG], now=NOW) is None
