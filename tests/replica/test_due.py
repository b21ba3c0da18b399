"""What is due is refreshed: by claim, in bounded requests, with delays that grow while upstream is away."""

import random
from datetime import timedelta

import pytest
from django.conf import settings

from bursary.lib.leases import NOT_BEFORE
from bursary.replica import ingest, refresh, schedule
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata
from tests.replica.listing import CATALOG, COURSE, LATER, NOW, OTHER_CATALOG, RUNS, a_course, enrolling_by
from tests.replica.replicated import HOUR, announcements, bring_in, due, row
from tests.replica.upstream import Upstream, courses, keys_of, listing_of, refresh_rows_due

pytestmark = pytest.mark.django_db

STALE = NOW + 7 * HOUR


def test_what_is_stale_is_refreshed_once_and_is_due_again_when_it_is_stale_again() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    assert refresh_rows_due(upstream, now=NOW + 5 * HOUR).records == 0

    upstream.records = [enrolling_by("2028-09-01T00:00:00Z", synced=LATER)]
    report = refresh_rows_due(upstream, now=STALE)

    assert upstream.questions == [(COURSE,)]
    assert (report.changed, report.records) == (2, 1)
    assert str(row().enroll_by) == str(row(RUNS[2]).enroll_by) == "2028-09-01 00:00:00+00:00"
    assert (row().checked_at, row().due_at, row().fence) == (STALE, STALE + 6 * HOUR, 1)
    assert refresh_rows_due(upstream, now=STALE).records == 0


@pytest.mark.on_every_engine
def test_a_second_fetch_of_unchanged_content_writes_no_payload_and_no_change() -> None:
    upstream = Upstream(courses(5))
    listing_of(upstream)
    before = dict(ContentMetadata.objects.values_list("pk", "fetched_at"))

    with announcements() as announced:
        refresh_rows_due(upstream, now=STALE)
        listing_of(upstream, now=STALE + HOUR)

    assert dict(ContentMetadata.objects.values_list("pk", "fetched_at")) == before
    assert not ContentChange.objects.exists()
    assert announced == []


def test_questions_are_for_fifty_keys_at_most_and_each_row_is_asked_for_once() -> None:
    upstream = Upstream(courses(120))
    listing_of(upstream)

    report = refresh_rows_due(upstream, now=STALE + 24 * HOUR)

    assert [len(question) for question in upstream.questions] == [50, 50, 20]
    assert sorted(key for asked in upstream.questions for key in asked) == sorted(keys_of(upstream.records))
    assert set(upstream.deadlines) == {settings.CONTENT_FETCH_DEADLINE}
    assert (report.records, report.postponed) == (120, 0)
    assert not due(STALE + 24 * HOUR).exists()


@pytest.mark.on_every_engine
def test_no_more_rows_than_asked_for_are_refreshed_first_due_first() -> None:
    upstream = Upstream(courses(10))
    listing_of(upstream)
    first = keys_of(upstream.records)[7]
    ContentMetadata.objects.filter(content_key=first).update(due_at=NOW)

    refresh_rows_due(upstream, now=STALE + 24 * HOUR, limit=1)

    assert upstream.questions == [(first,)]


def test_a_run_is_refreshed_with_its_course() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    ContentMetadata.objects.update(due_at=None)
    ContentMetadata.objects.filter(content_key=RUNS[0]).update(due_at=NOW, early=NOT_BEFORE)

    refresh_rows_due(upstream, now=STALE)

    assert upstream.questions == [(COURSE,)]
    assert (row(RUNS[0]).due_at, row(RUNS[0]).checked_at) == (None, STALE)


def test_each_catalog_is_asked_for_what_it_holds() -> None:
    here, there = courses(2), courses(2, start=2)
    upstream = Upstream([*here, *there])
    listing_of(Upstream(here))
    listing_of(Upstream(there), catalog_uuid=OTHER_CATALOG)

    refresh_rows_due(upstream, now=STALE + 24 * HOUR)

    assert sorted(upstream.questions) == sorted([tuple(sorted(keys_of(here))), tuple(sorted(keys_of(there)))])
    assert CatalogMembership.objects.filter(via_course="").count() == 4


def test_while_one_catalog_is_silent_the_others_are_refreshed() -> None:
    here, there = courses(60), courses(3, start=60)
    upstream = Upstream([*here, *there])
    listing_of(Upstream(here))
    listing_of(Upstream(there), catalog_uuid=OTHER_CATALOG, now=NOW + timedelta(minutes=1))
    upstream.down = {CATALOG}
    later = STALE + 24 * HOUR
    ContentMetadata.objects.filter(content_key=there[0]["key"]).update(due_at=NOW)  # in the first claim

    report = refresh_rows_due(upstream, now=later)

    assert sorted(len(asked) for asked in upstream.questions) == [1, 2, 49]
    assert report.postponed == 60
    refreshed = ContentMetadata.objects.filter(content_key__in=keys_of(there), checked_at=later)
    assert refreshed.count() == 3


def test_a_run_stops_where_no_catalog_answers() -> None:
    upstream = Upstream(courses(120))
    listing_of(upstream)
    upstream.down = True

    report = refresh_rows_due(upstream, now=STALE + 24 * HOUR)

    assert len(upstream.questions) == 1
    assert report.postponed == 50
    assert due(STALE + 24 * HOUR).count() == 70


def test_pauses_grow_with_each_failure_are_capped_and_end_with_the_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    upstream = Upstream([a_course()])
    listing_of(upstream)
    upstream.down = True
    now, pauses = STALE, []
    for _ in range(12):
        refresh_rows_due(upstream, now=now)
        due_at = row().due_at
        assert due_at is not None
        assert refresh_rows_due(upstream, now=due_at - timedelta(seconds=1)).postponed == 0
        pauses.append((due_at - now).total_seconds() / 60)
        now = due_at

    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360]
    assert (row().failures, row().last_error) == (12, "catalog_unavailable: The catalog does not answer.")
    assert row().title == a_course()["title"]

    upstream.down = False
    refresh_rows_due(upstream, now=now)
    assert (row().failures, row().last_error, row().due_at) == (0, "", now + 6 * HOUR)


def test_what_upstream_does_not_hand_over_is_postponed_alone_and_is_not_taken_for_gone() -> None:
    upstream = Upstream(courses(10))
    listing_of(upstream)
    bad, *good = keys_of(upstream.records)
    upstream.withheld = {bad}
    now = STALE + 24 * HOUR

    report = refresh_rows_due(upstream, now=now)

    assert (report.unparsable_total, report.unparsable[0].key, report.missing) == (1, bad, 0)
    assert (row(bad).failures, row(bad).last_error) == (1, "upstream_error: It answered with 500.")
    assert now < (row(bad).due_at or now) <= now + timedelta(minutes=1)
    assert ContentMetadata.objects.filter(content_key__in=good, checked_at=now, failures=0).count() == 9
    for again in range(1, 8):
        refresh_rows_due(upstream, now=now + again * 7 * HOUR)  # longer than any pause
    assert row(bad).failures == 8
    assert row(bad).gone_at is None
    assert not CatalogMembership.objects.exclude(missing_since=None).exists()

    upstream.withheld = set()
    refresh_rows_due(upstream, now=now + 60 * HOUR)
    assert (row(bad).failures, row(bad).last_error, row(bad).checked_at) == (0, "", now + 60 * HOUR)


def test_pauses_are_spread() -> None:
    pauses = {schedule.retry_delay(8) for _ in range(20)}

    assert len(pauses) == 20
    assert max(pauses) <= timedelta(minutes=128)


@pytest.mark.on_every_engine
def test_the_rows_of_a_dead_refresher_are_due_when_its_lease_ends() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    schedule.claim(started=STALE, now=STALE, limit=1)

    refresh_rows_due(upstream, now=STALE + settings.CONTENT_LEASE / 2)
    assert upstream.questions == []
    refresh_rows_due(upstream, now=STALE + settings.CONTENT_LEASE)
    assert upstream.questions == [(COURSE,)]


@pytest.mark.on_every_engine
def test_a_claim_late_in_a_run_has_a_whole_lease_and_takes_nothing_that_became_due_meanwhile() -> None:
    listing_of(Upstream(courses(2)))
    late = STALE + HOUR
    becomes_due = ContentMetadata.objects.filter(parent_key="").latest("pk")
    ContentMetadata.objects.filter(pk=becomes_due.pk).update(due_at=STALE + HOUR / 2)

    [claimed] = schedule.claim(started=STALE, now=late, limit=10)

    assert (claimed.pk == becomes_due.pk, claimed.lease_until) == (False, late + settings.CONTENT_LEASE)


@pytest.mark.on_every_engine
def test_a_refresher_that_outlived_its_lease_settles_nothing() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    late = schedule.claim(started=STALE, now=STALE, limit=1)
    after = STALE + settings.CONTENT_LEASE
    schedule.claim(started=after, now=after, limit=1)

    schedule.settle_failed(late, now=after, error="too late")

    assert (row().failures, row().last_error, row().due_at) == (0, "", after + settings.CONTENT_LEASE)


@pytest.mark.on_every_engine
def test_a_refresh_that_is_requested_during_a_fetch_survives_it() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    a_moment_later = STALE + timedelta(seconds=1)
    upstream.meanwhile = lambda: schedule.request_refresh([COURSE], now=a_moment_later)

    refresh_rows_due(upstream, now=STALE)
    assert row().due_at == a_moment_later
    upstream.meanwhile = lambda: None
    refresh_rows_due(upstream, now=a_moment_later)

    assert upstream.questions == [(COURSE,), (COURSE,)]
    assert row().due_at == a_moment_later + 6 * HOUR


@pytest.mark.on_every_engine
def test_rows_are_given_back_if_their_lease_might_end_during_the_request() -> None:
    here, there = courses(1), courses(1, start=1)
    upstream = Upstream([*here, *there])
    listing_of(Upstream(here))
    listing_of(Upstream(there), catalog_uuid=OTHER_CATALOG)
    ticking = iter([STALE, STALE, STALE, STALE + settings.CONTENT_LEASE])
    now = STALE + settings.CONTENT_LEASE

    refresh.refresh_due(clock=lambda: next(ticking, now), source=upstream, limit=2)

    assert len(upstream.questions) == 1
    assert due(now).count() == 1


@pytest.mark.on_every_engine
def test_an_unexpected_error_postpones_its_rows_and_the_others_go_on() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    listing_of(Upstream(courses(1, start=5)), catalog_uuid=OTHER_CATALOG)
    upstream.records = [enrolling_by("2028-09-01T00:00:00Z", synced=LATER), *courses(1, start=5)]

    def refuse(**_announcement: object) -> None:
        raise ZeroDivisionError

    ingest.content_changed.connect(refuse)
    try:
        report = refresh_rows_due(upstream, now=STALE + 24 * HOUR)
    finally:
        ingest.content_changed.disconnect(refuse)

    assert report.postponed == 1
    assert (row().failures, row().last_error) == (1, "unexpected_error: ZeroDivisionError")
    assert str(row().enroll_by) == "2028-10-01 23:59:59+00:00"
    assert row(courses(1, start=5)[0]["key"]).checked_at == STALE + 24 * HOUR


def test_thin_and_older_answers_are_refused_and_asked_for_again_later() -> None:
    upstream = Upstream([a_course(synced=LATER)])
    listing_of(upstream)
    upstream.records = [a_course(title="Old", synced="2026-11-20T08:00:00Z")]

    report = refresh_rows_due(upstream, now=STALE)

    assert (report.refused_older, row().title, row().due_at) == (4, a_course()["title"], STALE + 6 * HOUR)


@pytest.mark.parametrize(
    ("course", "hours"),
    [
        (a_course(), 6),
        (a_course(active=False), 24),
        (enrolling_by("2026-11-28T00:00:00Z"), 1),
        (enrolling_by("2026-11-30T00:00:00Z"), 6),
        (enrolling_by("2026-11-21T00:00:00Z"), 6),
    ],
)
def test_what_starts_or_closes_soon_is_stale_sooner_and_what_is_inactive_later(
    course: dict[str, object], hours: int
) -> None:
    bring_in(course)

    assert row().fresh_until == row().due_at == NOW + hours * HOUR
    bring_in(course, now=NOW + HOUR / 2)
    assert row().fresh_until == NOW + HOUR / 2 + hours * HOUR


def test_a_row_without_a_catalog_to_ask_stops_no_other() -> None:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    CatalogMembership.objects.all().delete()
    ContentMetadata.objects.update(fetched_from="a backup")

    assert refresh_rows_due(upstream, now=STALE).records == 0
    assert (row().due_at, row().gone_at) == (STALE + 24 * HOUR, None)
