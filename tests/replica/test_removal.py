"""Content leaves a catalog after two lookups by key, never because of one listing, never in masses."""

from datetime import timedelta
from uuid import UUID

import pytest

from bursary.catalog.records import CatalogUnavailable
from bursary.replica import reads, refresh, removal
from bursary.replica.models import CatalogListing, CatalogMembership, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import CATALOG, COURSE, NOW, OTHER_CATALOG, RUNS
from tests.replica.replicated import HOUR, announcements, history, row
from tests.replica.upstream import Upstream, courses, given_catalog, keys_of, listing_of, refresh_rows_due

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def held(catalog_uuid: UUID = CATALOG) -> int:
    return CatalogMembership.objects.filter(catalog_uuid=catalog_uuid, via_course="").count()


@pytest.mark.on_every_engine
def test_what_a_listing_leaves_out_and_two_questions_do_not_find_is_gone() -> None:
    upstream = given_catalog()
    del upstream.records[0]

    first = listing_of(upstream, now=NOW + DAY)
    assert (first.missing, first.ended, row().gone_at) == (1, 0, None)
    assert reads.held_by(CATALOG).filter(content_key=COURSE).exists()

    with announcements() as announced:
        second = listing_of(upstream, now=NOW + 2 * DAY)

    gone_at = (NOW + 2 * DAY).isoformat()
    assert (second.missing, second.ended, second.alarm) == (1, 1, "")
    assert (row().gone_at, row(RUNS[0]).gone_at) == (NOW + 2 * DAY, NOW + 2 * DAY)
    assert not reads.held_by(CATALOG).filter(content_key__in=[COURSE, *RUNS]).exists()
    assert history() == {
        **{(key, "membership"): (str(CATALOG), None) for key in (COURSE, *RUNS)},
        **{(key, "gone_at"): (None, gone_at) for key in (COURSE, *RUNS)},
    }
    assert [one["pks"] for one in announced] == [sorted(row(key).pk for key in (COURSE, *RUNS))]
    assert upstream.questions == [(COURSE,), (COURSE,)]


def test_what_is_found_by_key_is_still_there_listed_or_not() -> None:
    upstream = given_catalog()
    upstream.hidden = [upstream.records.pop(0)]

    for days in (1, 2, 3):
        report = listing_of(upstream, now=NOW + days * DAY)
        assert (report.missing, report.ended) == (0, 0)

    assert held() == 30
    assert row().checked_at == NOW + 3 * DAY


def test_two_questions_in_quick_succession_count_as_one() -> None:
    upstream = given_catalog()
    del upstream.records[0]

    listing_of(upstream, now=NOW + DAY)
    report = listing_of(upstream, now=NOW + DAY + HOUR / 2)

    assert (report.missing, report.ended, held()) == (1, 0, 30)


@pytest.mark.on_every_engine
def test_what_was_missed_once_and_then_seen_starts_anew() -> None:
    upstream = given_catalog()
    course = upstream.records.pop(0)
    listing_of(upstream, now=NOW + DAY)
    upstream.hidden = [course]
    listing_of(upstream, now=NOW + 2 * DAY)
    upstream.hidden = []

    report = listing_of(upstream, now=NOW + 3 * DAY)

    assert (report.missing, report.ended, row().gone_at) == (1, 0, None)


def test_what_is_due_confirms_as_well_and_asks_again_after_an_hour() -> None:
    upstream = given_catalog()
    del upstream.records[0]
    listing_of(upstream, now=NOW + DAY)
    ContentMetadata.objects.exclude(content_key=COURSE).update(due_at=None)

    report = refresh_rows_due(upstream, now=NOW + DAY + HOUR / 2)
    assert (report.missing, report.ended, row().due_at) == (1, 0, NOW + DAY + HOUR * 1.5)
    report = refresh_rows_due(upstream, now=NOW + DAY + HOUR * 1.5)

    assert (report.ended, row().gone_at) == (1, NOW + DAY + HOUR * 1.5)
    assert row().due_at == NOW + 2 * DAY + HOUR * 1.5


def test_questions_alone_end_nothing_before_a_whole_listing_left_it_out() -> None:
    upstream = given_catalog()
    del upstream.records[0]

    for hours in range(7, 60, 2):
        assert refresh_rows_due(upstream, now=NOW + hours * HOUR).ended == 0

    assert row().gone_at is None
    assert held() == 30


@pytest.mark.on_every_engine
def test_content_that_another_catalog_holds_only_leaves_this_one() -> None:
    upstream = given_catalog()
    given_catalog(catalog_uuid=OTHER_CATALOG)
    del upstream.records[0]

    listing_of(upstream, now=NOW + DAY)
    report = listing_of(upstream, now=NOW + 2 * DAY)

    assert (report.ended, held(), held(OTHER_CATALOG), row().gone_at) == (1, 29, 30, None)
    assert history() == {(key, "membership"): (str(CATALOG), None) for key in (COURSE, *RUNS)}


def test_nothing_goes_while_upstream_is_down() -> None:
    upstream = given_catalog()
    upstream.records = []
    upstream.down = True

    for days in range(1, 4):
        with pytest.raises(refresh.ContentUnavailable):
            listing_of(upstream, now=NOW + days * DAY)
        refresh_rows_due(upstream, now=NOW + days * DAY)

    assert held() == 30
    assert not CatalogMembership.objects.exclude(missing_since=None).exists()


def test_a_listing_that_broke_off_says_nothing_of_what_it_did_not_reach() -> None:
    upstream = Upstream(courses(120))
    listing_of(upstream)
    upstream.silent_after = 2

    with pytest.raises(refresh.ContentUnavailable):
        listing_of(upstream, now=NOW + DAY)

    assert upstream.questions == []
    assert CatalogListing.objects.get().started_at == NOW


@pytest.mark.parametrize("left", [0, 10, 23])
@pytest.mark.on_every_engine
def test_a_listing_that_shrinks_by_more_than_a_fifth_removes_nothing_and_raises_an_alarm(left: int) -> None:
    upstream = given_catalog()
    upstream.records = upstream.records[:left]

    reports = [listing_of(upstream, now=NOW + days * DAY) for days in range(1, 4)]

    assert all(f"names {left} where the one before named 30" in report.alarm for report in reports)
    assert (held(), upstream.questions) == (30, [])
    state = CatalogListing.objects.get()
    assert (state.alarmed_at, state.started_at, state.listed) == (NOW + DAY, NOW, 30)
    assert removal.alarms() == {CATALOG: reports[0].alarm}


def test_the_alarm_ends_when_the_listing_is_whole_again() -> None:
    upstream = given_catalog()
    whole, upstream.records = upstream.records, upstream.records[:5]
    listing_of(upstream, now=NOW + DAY)
    upstream.records = whole

    assert listing_of(upstream, now=NOW + 2 * DAY).alarm == ""
    assert removal.alarms() == {}


def test_a_fifth_may_go_at_once() -> None:
    upstream = given_catalog()
    upstream.records = upstream.records[6:]

    listing_of(upstream, now=NOW + DAY)
    report = listing_of(upstream, now=NOW + 2 * DAY)

    assert (report.ended, held()) == (6, 24)


def test_of_a_tiny_catalog_a_few_may_disappear_but_not_all() -> None:
    upstream = given_catalog(4)
    upstream.records = upstream.records[3:]
    listing_of(upstream, now=NOW + DAY)
    assert listing_of(upstream, now=NOW + 2 * DAY).ended == 3

    upstream.records = []
    assert "names 0" in listing_of(upstream, now=NOW + 3 * DAY).alarm
    assert held() == 1


@pytest.mark.on_every_engine
def test_an_operator_may_say_that_so_much_is_gone() -> None:
    upstream = given_catalog()
    upstream.records = upstream.records[:10]
    listing_of(upstream, now=NOW + DAY)

    first = listing_of(upstream, now=NOW + 2 * DAY, accept_drop=True)
    second = listing_of(upstream, now=NOW + 3 * DAY)

    assert (first.alarm, first.missing, second.alarm, second.ended) == ("", 20, "", 20)
    assert held() == 10


def test_what_is_exchanged_in_masses_under_one_size_is_an_alarm_too() -> None:
    upstream = given_catalog()
    upstream.records = [*upstream.records[:20], *courses(10, start=100)]

    first = listing_of(upstream, now=NOW + DAY)
    second = listing_of(upstream, now=NOW + 2 * DAY)

    assert (first.alarm, first.missing, second.ended) == ("", 10, 0)
    assert "does not have 10 of the 40" in second.alarm
    assert set(keys_of(upstream.records)) < {
        one.content.content_key for one in CatalogMembership.objects.select_related("content")
    }


def test_an_upstream_that_flaps_removes_nothing() -> None:
    upstream = given_catalog()
    whole = upstream.records
    for days in range(1, 8):
        upstream.records = whole if days % 2 else whole[1:]
        assert listing_of(upstream, now=NOW + days * DAY).ended == 0

    assert held() == 30


@pytest.mark.on_every_engine
def test_what_is_seen_while_its_membership_ends_stays() -> None:
    upstream = given_catalog()
    course = upstream.records.pop(0)
    listing_of(upstream, now=NOW + DAY)

    def seen_meanwhile() -> None:
        listing_of(Upstream([*upstream.records, course]), now=NOW + 2 * DAY + HOUR)

    upstream.meanwhile = seen_meanwhile
    report = listing_of(upstream, now=NOW + 2 * DAY)

    assert (report.ended, held(), row().gone_at) == (0, 30, None)
    assert CatalogMembership.objects.get(content=row()).missing_since is None


def test_silence_while_confirming_is_an_outage_and_not_an_absence() -> None:
    upstream = given_catalog()
    del upstream.records[0]

    def fall_silent() -> None:
        raise CatalogUnavailable("The catalog does not answer.")

    upstream.meanwhile = fall_silent
    with pytest.raises(refresh.ContentUnavailable):
        listing_of(upstream, now=NOW + DAY)

    assert not CatalogMembership.objects.exclude(missing_since=None).exists()


def test_a_dry_run_predicts_an_alarm_and_concludes_nothing() -> None:
    upstream = given_catalog()
    assert listing_of(upstream, now=NOW + DAY, dry_run=True).alarm == ""
    upstream.records = []

    report = listing_of(upstream, now=NOW + DAY, dry_run=True)

    assert report == RefreshReport(alarm=report.alarm)
    assert report.alarm.startswith("The listing names 0 where the one before named")
    state = CatalogListing.objects.get()
    assert (state.started_at, state.alarm, upstream.questions) == (NOW, "", [])


def test_lookups_by_key_after_a_listing_report_progress() -> None:
    upstream = Upstream(courses(60))
    listing_of(upstream)
    upstream.hidden, upstream.records = upstream.records[:5], upstream.records[5:]
    upstream.questions.clear()
    calls: list[int] = []

    refresh.refresh_catalog(
        CATALOG,
        source=upstream,
        now=NOW + 24 * HOUR,
        trigger=RefreshTrigger.CRON,
        on_progress=lambda _records: calls.append(len(upstream.questions)),
    )

    assert calls[-1] == len(upstream.questions) == 1
