"""Requested refreshes: by events, above all, of which upstream may know less than the replica."""

from datetime import timedelta

import pytest
from pytest_django import Settings

from bursary.replica import schedule
from bursary.replica.models import ColdRead, ColdReadStatus, ContentMetadata
from tests.replica.listing import CATALOG, COURSE, LATER, NOW, RUNS, a_course
from tests.replica.replicated import HOUR, due, row
from tests.replica.upstream import Upstream, courses, listing_of, refresh_rows_due

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def given_course() -> Upstream:
    upstream = Upstream([a_course()])
    listing_of(upstream)
    return upstream


@pytest.mark.parametrize("key", [COURSE, RUNS[0], f"course-v1:{COURSE}+not_seen_yet"])
@pytest.mark.on_every_engine
def test_a_request_for_content_or_one_of_its_runs_makes_the_course_due(key: str) -> None:
    given_course()

    assert schedule.request_refresh([key], now=NOW + HOUR) == 1

    assert row().due_at == NOW + HOUR
    assert not ContentMetadata.objects.filter(content_type="courserun").exclude(due_at=None).exists()


@pytest.mark.on_every_engine
def test_a_request_never_postpones_what_is_due_already() -> None:
    given_course()
    schedule.request_refresh([COURSE], now=NOW + HOUR)
    schedule.request_refresh([COURSE], now=NOW + 2 * HOUR)

    assert row().due_at == NOW + HOUR


def test_freshness_of_more_than_31_days_counts_as_31_days(settings: Settings) -> None:
    settings.CONTENT_FRESHNESS = dict.fromkeys(settings.CONTENT_FRESHNESS, timedelta(days=45))
    given_course()

    assert (row().fresh_until, row().due_at) == (NOW + timedelta(days=31), NOW + timedelta(days=31))
    assert schedule.fresh_for("depended_on") == timedelta(days=31)


@pytest.mark.parametrize("key", ["NobodyX+N1", "course-v1:NobodyX+N1+1", "two words", ""])
def test_a_request_for_an_unknown_key_is_not_kept(key: str) -> None:
    given_course()

    assert schedule.request_refresh([key], now=NOW + HOUR) == 0
    assert not due(NOW + HOUR).exists()


def test_a_request_for_a_key_ends_what_was_remembered_of_its_absence() -> None:
    for key in ("NobodyX+N1", "NobodyX+N2"):
        ColdRead.objects.create(
            catalog_uuid=CATALOG,
            content_key=key,
            status=ColdReadStatus.ABSENT,
            asked_at=NOW,
            due_at=NOW + HOUR,
        )

    schedule.request_refresh(["NobodyX+N1"], now=NOW)

    assert ColdRead.objects.get().content_key == "NobodyX+N2"


def test_what_an_event_announced_is_polled_for_ever_more_seldom_until_it_shows() -> None:
    upstream = given_course()
    schedule.request_refresh([RUNS[0]], now=NOW + HOUR, until_changed=True)

    now, waits = NOW + HOUR, []
    for _ in range(6):
        refresh_rows_due(upstream, now=now)
        due_at = row().due_at
        assert due_at is not None
        waits.append((due_at - now) / MINUTE)
        now = due_at
    assert waits == [1, 1, 2, 4, 8, 16]

    upstream.records = [a_course(title="New", synced=LATER)]
    refresh_rows_due(upstream, now=now)

    assert (row().title, row().trigger) == ("New", "event")
    assert (row().change_announced_at, row().due_at) == (None, now + 6 * HOUR)


def test_what_does_not_show_in_a_day_is_awaited_no_more() -> None:
    upstream = given_course()
    schedule.request_refresh([COURSE], now=NOW, until_changed=True)
    now = NOW
    for polls in range(100):  # noqa: B007  # counted after the loop
        refresh_rows_due(upstream, now=now)
        if row().change_announced_at is None:
            break
        assert row().due_at is not None
        now = row().due_at or now

    assert polls < 30
    assert NOW + 24 * HOUR <= now <= NOW + 27 * HOUR
    assert row().due_at == now + 6 * HOUR


def test_what_is_announced_during_a_fetch_is_not_what_that_fetch_saw() -> None:
    upstream = given_course()
    schedule.request_refresh([COURSE], now=NOW + HOUR)
    upstream.records = [a_course(title="One change", synced=LATER)]
    announced = NOW + HOUR + MINUTE
    upstream.meanwhile = lambda: schedule.request_refresh([COURSE], now=announced, until_changed=True)

    refresh_rows_due(upstream, now=NOW + HOUR)

    assert row().title == "One change"
    assert (row().change_announced_at, row().due_at) == (announced, announced)
    upstream.meanwhile = lambda: None
    refresh_rows_due(upstream, now=announced)
    assert (row().change_announced_at, row().due_at) == (announced, announced + MINUTE)

    upstream.records = [a_course(title="Another", synced="2026-11-22T07:00:00Z")]
    refresh_rows_due(upstream, now=announced + MINUTE)
    assert (row().title, row().change_announced_at) == ("Another", None)


def test_what_is_announced_while_a_listing_is_read_is_awaited_whatever_the_listing_brings() -> None:
    upstream = given_course()
    announced = NOW + 2 * HOUR
    schedule.request_refresh([COURSE], now=announced, until_changed=True)

    upstream.records = [a_course(title="One change", synced=LATER)]
    listing_of(upstream, now=announced - MINUTE)

    assert row().title == "One change"
    assert (row().change_announced_at, row().due_at) == (announced, announced)


@pytest.mark.on_every_engine
def test_what_is_requested_while_a_listing_is_read_stays_due() -> None:
    upstream = given_course()
    requested = NOW + 2 * HOUR
    schedule.request_refresh([COURSE], now=requested)

    listing_of(upstream, now=requested - MINUTE)

    assert (row().checked_at, row().due_at) == (requested - MINUTE, requested)


def test_what_is_announced_after_the_lease_of_a_slow_fetch_stays_due() -> None:
    upstream = given_course()
    schedule.request_refresh([COURSE], now=NOW + HOUR)
    announced = NOW + 2 * HOUR
    upstream.meanwhile = lambda: schedule.request_refresh([COURSE], now=announced, until_changed=True)

    refresh_rows_due(upstream, now=NOW + HOUR)

    assert row().change_announced_at == announced
    assert due(announced).get() == row()


def test_an_announced_change_that_shows_is_awaited_no_more_although_a_clock_was_once_ahead() -> None:
    upstream = given_course()
    ContentMetadata.objects.update(checked_at=NOW + 48 * HOUR)
    schedule.request_refresh([COURSE], now=NOW + HOUR, until_changed=True)
    upstream.records = [a_course(title="New", synced=LATER)]

    refresh_rows_due(upstream, now=NOW + HOUR)

    assert (row().title, row().change_announced_at) == ("New", None)
    assert not due(NOW + HOUR + MINUTE).exists()


def test_a_listing_that_does_not_show_it_yet_leaves_it_awaited() -> None:
    upstream = given_course()
    schedule.request_refresh([COURSE], now=NOW + HOUR, until_changed=True)

    listing_of(upstream, now=NOW + 2 * HOUR)

    assert (row().change_announced_at, row().due_at) == (NOW + HOUR, NOW + HOUR)
    upstream.records = [a_course(title="New", synced=LATER)]
    listing_of(upstream, now=NOW + 3 * HOUR)
    assert (row().change_announced_at, row().due_at) == (None, NOW + 9 * HOUR)


@pytest.mark.on_every_engine
def test_a_row_is_scheduled_sooner_unless_it_is_claimed_or_in_back_off() -> None:
    upstream = Upstream(courses(3))
    listing_of(upstream)
    waiting, failing, flying = ContentMetadata.objects.filter(parent_key="").order_by("pk")
    later = NOW + 4 * HOUR
    ContentMetadata.objects.filter(pk=failing.pk).update(failures=3)
    ContentMetadata.objects.filter(pk=flying.pk).update(due_at=later + MINUTE)
    ContentMetadata.objects.filter(pk=waiting.pk).update(due_at=NOW + 24 * HOUR)
    pks = [waiting.pk, failing.pk, flying.pk]

    assert schedule.bring_forward(pks, now=later) == 1

    assert due(later).get() == waiting
