"""Cold reads: one request a key, however many readers, its answer remembered for a while."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from threading import Event
from uuid import UUID

import pytest
from pytest_django import Settings

from bursary.catalog.records import CatalogUnavailable
from bursary.lib import leases
from bursary.replica import cold_reads, reads, refresh, schedule
from bursary.replica.models import ColdRead, ColdReadStatus, Completeness, ContentMetadata
from tests.elapsed import AT_ONCE, taking_at_most
from tests.replica.listing import CATALOG, COURSE, NOW, OTHER_CATALOG, RUNS, a_course, a_thin_course
from tests.replica.replicated import HOUR, bring_in
from tests.replica.upstream import Upstream, listing_of, refresh_rows_due
from tests.standing_clock import StandingClock
from tests.together import Arrivals, together

ABSENT = "NobodyX+N1"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """The configured catalog."""
    configured = Upstream([a_course()])
    monkeypatch.setattr(refresh, "configured_source", lambda: configured)
    return configured


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Arrivals:
    """The readers that find that another asks for what they read."""
    settings.CONTENT_READ_DEADLINE = MINUTE  # of real time: on a busy machine, two seconds pass
    found, acquire = Arrivals(), cold_reads.acquire

    def acquired(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ColdRead | ColdReadStatus:
        answer = acquire(content_key, catalog_uuid=catalog_uuid, now=now)
        if answer is ColdReadStatus.ASKING:
            found.come()
        return answer

    monkeypatch.setattr(cold_reads, "acquire", acquired)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StandingClock:
    standing = StandingClock()
    monkeypatch.setattr(cold_reads, "time", standing)
    return standing


def read(
    key: str = COURSE, *, catalog_uuid: UUID = CATALOG, after: timedelta = timedelta(0)
) -> ContentMetadata:
    return reads.content_for(key, catalog_uuid=catalog_uuid, now=NOW + after)


@pytest.mark.django_db
def test_a_cold_read_asks_within_its_deadline_and_leaves_nothing_behind(
    upstream: Upstream, settings: Settings
) -> None:
    assert read(RUNS[1]).content_key == RUNS[1]

    assert (upstream.questions, upstream.deadlines) == ([(RUNS[1],)], [settings.CONTENT_READ_DEADLINE])
    assert not ColdRead.objects.exists()


@pytest.mark.django_db
def test_what_upstream_does_not_know_is_not_asked_for_again_for_a_while(upstream: Upstream) -> None:
    for minutes in (0, 1, 9):
        with pytest.raises(reads.UnknownContent):
            read(ABSENT, after=minutes * MINUTE)
    assert upstream.questions == [(ABSENT,)]

    with pytest.raises(reads.UnknownContent):
        read(ABSENT, after=11 * MINUTE)
    assert len(upstream.questions) == 2


@pytest.mark.django_db
def test_what_one_catalog_does_not_have_another_is_asked_for(upstream: Upstream) -> None:
    for catalog_uuid in (CATALOG, OTHER_CATALOG):
        with pytest.raises(reads.UnknownContent):
            read(ABSENT, catalog_uuid=catalog_uuid)

    assert len(upstream.questions) == 2


@pytest.mark.django_db
def test_a_run_that_another_catalog_has_is_asked_for_by_its_course_as_well(upstream: Upstream) -> None:
    bring_in(a_course())

    assert read(RUNS[1], catalog_uuid=OTHER_CATALOG).content_key == RUNS[1]

    assert upstream.questions == [(COURSE, RUNS[1])]


@pytest.mark.django_db
@pytest.mark.parametrize("withheld", [COURSE, RUNS[1]])
def test_what_upstream_fails_on_is_unavailable_and_so_are_its_runs(upstream: Upstream, withheld: str) -> None:
    bring_in(a_course())
    upstream.withheld = {withheld}

    with pytest.raises(reads.ContentUnavailable):
        read(RUNS[1], catalog_uuid=OTHER_CATALOG)


@pytest.mark.django_db
def test_content_of_which_upstream_has_a_record_that_cannot_be_used_is_unknown(upstream: Upstream) -> None:
    upstream.records = [a_course(content_type="podcast")]

    with pytest.raises(reads.UnknownContent):
        read()


@pytest.mark.django_db
def test_a_course_known_by_a_thin_record_alone_is_fetched_like_one_never_seen(upstream: Upstream) -> None:
    bring_in(a_thin_course())

    assert read().completeness == Completeness.FULL
    assert read().completeness == Completeness.FULL
    assert upstream.questions == [(COURSE,)]


@pytest.mark.django_db
def test_a_course_of_which_upstream_has_no_more_than_a_thin_record_is_unavailable_for_a_while(
    upstream: Upstream,
) -> None:
    bring_in(a_thin_course())
    upstream.records = [a_thin_course()]
    for seconds in (0, 1, 4):
        with pytest.raises(reads.ContentUnavailable):
            read(after=timedelta(seconds=seconds))
    assert upstream.questions == [(COURSE,)]

    upstream.records = [a_course()]
    assert read(after=timedelta(seconds=6)).completeness == Completeness.FULL


@pytest.mark.django_db
def test_what_a_refresh_brought_in_meanwhile_is_there_whatever_is_remembered(upstream: Upstream) -> None:
    upstream.records = []
    with pytest.raises(reads.UnknownContent):
        read()

    bring_in(a_course())

    assert read().content_key == COURSE


@pytest.mark.django_db
@pytest.mark.usefixtures("clock")
def test_silence_is_remembered_for_seconds_and_recovery_needs_no_action(
    upstream: Upstream, settings: Settings
) -> None:
    settings.CONTENT_READ_DEADLINE = MINUTE
    upstream.down = True
    for seconds in (0, 4):
        with taking_at_most(AT_ONCE), pytest.raises(reads.ContentUnavailable):
            read(after=timedelta(seconds=seconds))
    assert len(upstream.questions) == 1

    upstream.down = False
    assert read(after=timedelta(seconds=5)).content_key == COURSE


@pytest.mark.django_db
def test_silence_is_remembered_for_as_long_however_long_it_took(
    upstream: Upstream, clock: StandingClock
) -> None:
    def hang() -> None:
        clock.now += 20
        raise CatalogUnavailable("No answer came in time.")

    upstream.meanwhile = hang
    for after in (0, 20, 24):
        with pytest.raises(reads.ContentUnavailable):
            read(after=timedelta(seconds=after))
    assert len(upstream.questions) == 1

    upstream.meanwhile = lambda: None
    assert read(after=timedelta(seconds=25)).content_key == COURSE


@pytest.mark.django_db
@pytest.mark.on_every_engine
def test_a_reader_that_died_is_followed_when_its_lease_ends(upstream: Upstream, settings: Settings) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(milliseconds=100)
    cold_reads.acquire(COURSE, catalog_uuid=CATALOG, now=NOW)

    with pytest.raises(reads.ContentUnavailable):
        read(after=timedelta(seconds=20))
    assert read(after=MINUTE).content_key == COURSE


@pytest.mark.django_db
def test_what_is_known_meanwhile_is_read_though_another_still_asks() -> None:
    cold_reads.acquire(COURSE, catalog_uuid=CATALOG, now=NOW)

    def ask() -> str:
        raise AssertionError("Another reader asks already.")

    ends = time.monotonic() + 60
    with taking_at_most(AT_ONCE):
        found = cold_reads.ask_once(
            COURSE, catalog_uuid=CATALOG, read_stored=lambda: "there", fetch=ask, ends_at=ends, now=NOW
        )
    assert found == "there"


@pytest.mark.django_db
def test_what_breaks_on_the_way_leaves_the_question_open(upstream: Upstream) -> None:
    def break_down() -> None:
        raise ZeroDivisionError

    upstream.meanwhile = break_down
    with pytest.raises(ZeroDivisionError):
        read()
    upstream.meanwhile = lambda: None

    assert read().content_key == COURSE


@pytest.mark.django_db
def test_no_read_of_anything_warm_asks_or_waits_while_upstream_is_down(upstream: Upstream) -> None:
    listing_of(upstream)
    upstream.down = True
    ContentMetadata.objects.update(due_at=None)

    for hours in range(0, 100, 5):
        content = read(after=hours * HOUR)
        assert (content.content_key, content.checked_at) == (COURSE, NOW)
        assert read(RUNS[0], after=hours * HOUR).content_key == RUNS[0]
        refresh_rows_due(upstream, now=NOW + hours * HOUR)

    asked_by_refreshers = len(upstream.questions)
    read(after=100 * HOUR)
    assert len(upstream.questions) == asked_by_refreshers

    upstream.down = False
    refresh_rows_due(upstream, now=NOW + 200 * HOUR)
    assert read(after=200 * HOUR).checked_at == NOW + 200 * HOUR


@pytest.mark.django_db
def test_a_stale_run_requests_one_refresh_of_its_course(upstream: Upstream) -> None:
    listing_of(upstream)
    ContentMetadata.objects.update(due_at=None)

    for _ in range(3):
        read(RUNS[0], after=7 * HOUR)

    due = ContentMetadata.objects.exclude(due_at=None)
    assert [(content.content_key, content.due_at) for content in due] == [(COURSE, NOW + 7 * HOUR)]


@pytest.mark.django_db
@pytest.mark.on_every_engine
def test_answers_that_count_no_more_and_the_oldest_of_too_many_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(6):
        ColdRead.objects.create(
            catalog_uuid=CATALOG,
            content_key=f"NobodyX+N{number}",
            status=ColdReadStatus.ABSENT,
            asked_at=NOW,
            due_at=NOW + (number - 1) * MINUTE,
            early=leases.NOT_BEFORE,
        )
    monkeypatch.setattr(cold_reads, "KEPT", 3)

    assert cold_reads.delete_old(now=NOW) == 3

    kept = ColdRead.objects.order_by("content_key").values_list("content_key", flat=True)
    assert list(kept) == ["NobodyX+N3", "NobodyX+N4", "NobodyX+N5"]

    # The turn of a reader that asks is none of them, though it ends before they lapse.
    assert isinstance(cold_reads.acquire(ABSENT, catalog_uuid=CATALOG, now=NOW), ColdRead)
    ColdRead.objects.filter(status=ColdReadStatus.ABSENT).update(due_at=NOW + HOUR)
    assert cold_reads.delete_old(now=NOW) == 0
    assert cold_reads.acquire(ABSENT, catalog_uuid=CATALOG, now=NOW) is ColdReadStatus.ASKING


@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_many_readers_and_refreshers_of_one_cold_key_are_one_question(
    upstream: Upstream, others: Arrivals
) -> None:
    upstream.meanwhile = lambda: others.wait_for(5 + 2)
    refresher = others.after(partial(refresh_rows_due, upstream, now=NOW))
    calls: list[Callable[[], object]] = [*([read] * 6), refresher, refresher]

    answers = together(calls)

    assert upstream.questions == [(COURSE,)]
    assert [getattr(answer, "content_key", "") for answer in answers[:6]] == [COURSE] * 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_many_readers_of_what_is_not_there_are_one_question(upstream: Upstream, others: Arrivals) -> None:
    upstream.meanwhile = lambda: others.wait_for(5)

    answers = together([partial(read, ABSENT)] * 6)

    assert upstream.questions == [(ABSENT,)]
    assert {type(answer) for answer in answers} == {reads.UnknownContent}


@pytest.mark.django_db(transaction=True)
def test_no_reader_is_held_past_the_deadline(
    upstream: Upstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(seconds=0.5)
    never = Event()

    def hang(_catalog: UUID, *, keys: Sequence[str], timeout: timedelta | None = None) -> Sequence[object]:
        upstream.questions.append(tuple(keys))
        never.wait(timeout.total_seconds() if timeout else 60)
        raise CatalogUnavailable("The catalog does not answer in time.")

    monkeypatch.setattr(upstream, "fetch", hang)
    with taking_at_most(AT_ONCE):
        answers = together([read] * 4)

    assert {type(answer) for answer in answers} == {reads.ContentUnavailable}
    assert len(upstream.questions) == 1


@pytest.mark.django_db
def test_an_event_while_a_key_is_asked_for_keeps_the_answer_from_being_remembered(upstream: Upstream) -> None:
    upstream.meanwhile = lambda: schedule.request_refresh([ABSENT], now=NOW, until_changed=True)

    for _time in range(2):
        with pytest.raises(reads.UnknownContent):
            read(ABSENT)

    assert upstream.questions == [(ABSENT,)] * 2
