"""Fetch and cache: few requests, each for many keys, and a bounded wait."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from bursary.replica import cold_reads, reads, upstream_cache
from bursary.replica.models import ColdRead, ColdReadStatus, ContentMetadata
from bursary.replica.types import CatalogKey, KnownContent
from tests.elapsed import AT_ONCE, taking_at_most
from tests.enterprise_catalog import faults
from tests.enterprise_catalog.server import Upstream
from tests.replica.reading import CLOSES, STARTS, a_course, keys_asked, read_over_http, run_of
from tests.together import together
from tests.world import CATALOG, NOW, PRICE

pytestmark = pytest.mark.django_db

TIDES, GONE = "RiversideX+TIDES", "RiversideX+GONE"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def upstream(settings: Settings) -> Iterator[Upstream]:
    with read_over_http(settings, a_course(TIDES, title="Tidal Engines"), mode="upstream") as running:
        yield running


def look_up(*keys: str, after: timedelta = timedelta(0)) -> KnownContent:
    wanted = {CatalogKey(CATALOG, key): key for key in keys}
    return upstream_cache.look_up(wanted, now=NOW + after).known


def test_content_is_as_upstream_serves_it_and_nothing_is_kept_in_the_tables(upstream: Upstream) -> None:
    [content] = look_up(TIDES).values()

    assert content is not None
    assert (content.title, content.price_cents, content.course_type) == (
        "Tidal Engines",
        PRICE,
        "verified-audit",
    )
    assert (content.start_date, content.enroll_by, content.end_date) == (STARTS, CLOSES, None)
    assert (content.partner_names, content.checked_at) == ("Riverside School", NOW)
    assert not ContentMetadata.objects.exists()


def test_a_run_is_found_by_its_own_key_with_its_course(upstream: Upstream) -> None:
    [content] = look_up(run_of(TIDES)).values()

    assert content is not None
    assert (content.content_key, content.parent_content_key) == (run_of(TIDES), TIDES)


def test_a_run_is_found_by_its_course_if_its_key_brings_nothing_any_more(upstream: Upstream) -> None:
    course = a_course(TIDES)
    del course["course_runs"][0]["parent_content_key"]
    upstream.database.put(course, catalogs=[str(CATALOG)])
    place = CatalogKey(CATALOG, run_of(TIDES))

    assert upstream_cache.look_up({place: place.content_key}, now=NOW, bypass_cache=True).known == {
        place: None
    }
    [found] = upstream_cache.look_up({place: TIDES}, now=NOW, bypass_cache=True).known.values()
    assert found is not None


def test_fifty_keys_are_one_request(upstream: Upstream) -> None:
    look_up(*(f"RiversideX+K{number}" for number in range(120)), TIDES)

    assert sorted(len(keys) for keys in keys_asked(upstream)) == [21, 50, 50]


def test_an_answer_is_served_again_for_a_while_and_so_is_that_there_is_none(upstream: Upstream) -> None:
    """Fault 3 of the peer: courses that are gone were asked for by every request."""
    for minutes in range(5):
        known = look_up(TIDES, GONE, after=minutes * MINUTE)
        assert known[CatalogKey(CATALOG, GONE)] is None
    assert keys_asked(upstream) == [[GONE, TIDES]]

    look_up(TIDES, GONE, after=6 * MINUTE)
    assert keys_asked(upstream)[1:] == [[TIDES]]
    look_up(TIDES, GONE, after=11 * MINUTE)
    assert keys_asked(upstream)[2:] == [[GONE, TIDES]]


def test_while_upstream_does_not_answer_the_last_answer_is_served(upstream: Upstream) -> None:
    look_up(TIDES, GONE)
    upstream.fails_with(faults.status(503))

    known = look_up(TIDES, GONE, after=60 * MINUTE)

    assert [place.content_key for place in known] == [TIDES]  # that it had no other is too long ago


def by_course(key: str) -> KnownContent:
    """Look up a run as what is assigned is looked up: by its course."""
    return upstream_cache.look_up({CatalogKey(CATALOG, key): TIDES}, now=NOW).known


def test_what_a_run_key_does_not_find_its_course_may(upstream: Upstream) -> None:
    course = a_course(TIDES)
    del course["course_runs"][0]["parent_content_key"]
    upstream.database.put(course, catalogs=[str(CATALOG)])
    place = CatalogKey(CATALOG, run_of(TIDES))

    for _time in range(2):
        assert by_course(run_of(TIDES))[place] is not None
        assert look_up(run_of(TIDES)) == {place: None}
    assert len(keys_asked(upstream)) == 2


@pytest.mark.parametrize("status", [500, 503])
def test_a_lookup_ends_within_its_deadline_and_recovers_with_upstream(
    upstream: Upstream, settings: Settings, status: int
) -> None:
    """Fault 2 of the peer: an upstream that hung up was asked for ever."""
    look_up("NobodyX+N1")  # to have a token, and a connection
    settings.CONTENT_READ_DEADLINE = timedelta(seconds=0.3)
    upstream.fails_with(faults.status(status))

    with taking_at_most(AT_ONCE):
        assert look_up(*(f"RiversideX+K{number}" for number in range(500))) == {}
    assert len(keys_asked(upstream)) < 500  # each alone, and the halves before it, would be a thousand

    upstream.recovers()
    settings.CONTENT_READ_DEADLINE = timedelta(minutes=1)
    assert look_up(TIDES)


def test_an_upstream_that_hangs_is_waited_for_five_times_at_most(
    upstream: Upstream, settings: Settings
) -> None:
    """Fault 2 of the peer: an upstream that hung up was asked for ever."""
    settings.CONTENT_READ_DEADLINE = timedelta(seconds=0.2)
    upstream.fails_with(faults.hang)

    with taking_at_most(AT_ONCE):
        for number in range(20):
            assert look_up(*(f"RiversideX+K{number}{extra}" for extra in range(60))) == {}
    assert len(keys_asked(upstream)) <= 6


@pytest.mark.django_db(transaction=True)
@pytest.mark.on_every_engine
def test_other_threads_wait_for_the_answer_of_the_one_that_asks(
    upstream: Upstream, settings: Settings
) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(minutes=1)
    upstream.fails_with(faults.slow(0.3))

    found = together([lambda: look_up(TIDES)] * 4)

    assert all(isinstance(known, dict) and known[CatalogKey(CATALOG, TIDES)] for known in found)
    assert len(keys_asked(upstream)) == 1
    # On servers, two lookups may each pass over the row that the other has locked, and then read the answer.
    # The row that neither has claimed is the next lookup's, or is deleted as one that has lapsed.
    assert not ColdRead.objects.filter(lease_until__isnull=False).exists()
    cold_reads.delete_old(now=NOW + timedelta(microseconds=1))
    assert not ColdRead.objects.exists()


def given_a_lookup_that_asks(*, process: int) -> None:
    name = upstream_cache._name_of_lookups(process)
    assert isinstance(cold_reads.acquire(name, catalog_uuid=CATALOG, now=NOW), ColdRead)


def test_a_lookup_waits_for_another_no_longer_than_for_upstream_nor_than_that_may_live(
    upstream: Upstream, settings: Settings
) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(seconds=0.2)
    given_a_lookup_that_asks(process=os.getpid())

    with taking_at_most(AT_ONCE):
        assert look_up(TIDES) == {}
        assert (
            upstream_cache.look_up({CatalogKey(CATALOG, TIDES): TIDES}, now=NOW, bypass_cache=True).known
            == {}
        )
    assert keys_asked(upstream) == []

    settings.CONTENT_READ_DEADLINE = MINUTE  # in which a busy machine answers
    assert look_up(TIDES, after=MINUTE)


def test_neither_another_catalog_nor_another_process_is_waited_for(
    upstream: Upstream, settings: Settings
) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(minutes=1)
    given_a_lookup_that_asks(process=os.getpid() + 1)  # its answers are in its own memory
    assert look_up(TIDES)
    given_a_lookup_that_asks(process=os.getpid())

    upstream_cache.look_up({CatalogKey(UUID(int=5), TIDES): TIDES}, now=NOW)

    assert len(upstream.asked("get_content_metadata")) == 2


@pytest.fixture
def another_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another lookup asks for TIDES and ends just before this one acquires the catalog."""
    acquire = cold_reads.acquire

    def acquired(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ColdRead | ColdReadStatus:
        monkeypatch.setattr(cold_reads, "acquire", acquire)
        look_up(TIDES)
        return acquire(content_key, catalog_uuid=catalog_uuid, now=now)

    monkeypatch.setattr(cold_reads, "acquire", acquired)


@pytest.mark.usefixtures("another_before")
def test_a_lookup_asks_for_what_no_other_has_asked_for_meanwhile(upstream: Upstream) -> None:
    assert len(look_up(TIDES, GONE)) == 2

    assert keys_asked(upstream) == [[TIDES], [GONE]]


def test_a_lookup_takes_what_another_has_cached_though_that_still_asks(
    upstream: Upstream, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CONTENT_READ_DEADLINE = timedelta(minutes=1)

    def acquired(content_key: str, *, catalog_uuid: UUID, now: datetime) -> ColdReadStatus:
        if not keys_asked(upstream):
            with monkeypatch.context() as as_it_is:
                as_it_is.setattr(cold_reads, "acquire", acquire)
                look_up(TIDES)
        return ColdReadStatus.ASKING

    acquire = cold_reads.acquire
    monkeypatch.setattr(cold_reads, "acquire", acquired)

    with taking_at_most(AT_ONCE):
        assert look_up(TIDES)
    assert keys_asked(upstream) == [[TIDES]]


def test_asked_for_anew_nothing_comes_from_the_cache(upstream: Upstream) -> None:
    look_up(TIDES)
    upstream.edit(TIDES, title="Tidal Engines II")

    [found] = upstream_cache.look_up(
        {CatalogKey(CATALOG, TIDES): TIDES}, now=NOW, bypass_cache=True
    ).fetched_now.values()

    assert found is not None
    assert found.title == "Tidal Engines II"


def test_a_lookup_that_the_cache_answers_asks_the_database_nothing(upstream: Upstream) -> None:
    look_up(TIDES, GONE)

    with CaptureQueriesContext(connection) as statements:
        assert len(look_up(TIDES, GONE)) == 2

    assert len(statements) == 0


@pytest.mark.django_db(transaction=True)
def test_a_lookup_is_refused_inside_a_transaction(upstream: Upstream) -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        look_up(TIDES)

    assert keys_asked(upstream) == []


def test_a_record_that_upstream_fails_on_is_not_taken_for_absent(upstream: Upstream) -> None:
    other = "RiversideX+KNOTS"
    upstream.database.put(a_course(other), catalogs=[str(CATALOG)])
    upstream.fails_with(faults.status(500), key=TIDES)

    assert [place.content_key for place in look_up(TIDES, other)] == [other]


def test_one_piece_of_content_is_unknown_or_unavailable(upstream: Upstream) -> None:
    with pytest.raises(reads.UnknownContent):
        reads.one_from_upstream(GONE, catalog_uuid=CATALOG, now=NOW)
    with pytest.raises(reads.UnknownContent):
        reads.one_from_upstream("not a key", catalog_uuid=CATALOG, now=NOW)
    upstream.fails_with(faults.status(503))
    with pytest.raises(reads.ContentUnavailable):
        reads.one_from_upstream(TIDES, catalog_uuid=CATALOG, now=NOW)


def test_catalogs_do_not_answer_for_each_other(upstream: Upstream) -> None:
    from_another = CatalogKey(UUID(int=5), TIDES)

    look_up(TIDES)

    assert upstream_cache.look_up({from_another: TIDES}, now=NOW).known == {}  # upstream has no such catalog


def test_the_cache_is_bounded() -> None:
    for number in range(0, 12_000, 500):
        cache.set_many({f"bursary.content.{number + extra}": None for extra in range(500)})

    assert len(cache._cache) <= 10_000  # type: ignore[attr-defined]  # its size is not public
    cache.clear()
