"""The shadow comparison: upstream's answers beside the rows, field by field."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from pytest_django import Settings

from bursary.replica import reads, refresh, shadow, upstream_cache
from bursary.replica.models import (
    CatalogMembership,
    Completeness,
    ContentMetadata,
    RefreshTrigger,
    ShadowDifference,
    ShadowTally,
)
from bursary.replica.types import CatalogKey
from tests.enterprise_catalog.server import Upstream
from tests.inserted import inserted_by_another
from tests.replica.reading import a_course, read_over_http, run_of
from tests.world import CATALOG, NOW

pytestmark = pytest.mark.django_db(transaction=True)

TIDES, KNOTS = "RiversideX+TIDES", "RiversideX+KNOTS"
HOUR = timedelta(hours=1)


@pytest.fixture
def upstream(settings: Settings) -> Iterator[Upstream]:
    with read_over_http(settings, a_course(TIDES), a_course(KNOTS), mode="shadow") as running:
        refresh.refresh_catalog(
            CATALOG, source=refresh.configured_source(), now=NOW, trigger=RefreshTrigger.CRON
        )
        yield running


def read(*keys: str, hours: int = 0) -> None:
    places = {CatalogKey(CATALOG, key): key for key in keys or (TIDES, KNOTS)}
    reads.from_upstream(places, now=NOW + hours * HOUR)


def ours(key: str = TIDES) -> Any:
    return ContentMetadata.objects.filter(content_key=key)


def standing() -> list[tuple[str, str]]:
    return list(ShadowDifference.objects.filter(healed_at=None).values_list("content_key", "field"))


@pytest.mark.usefixtures("upstream")
def test_a_replica_that_follows_upstream_shows_no_difference() -> None:
    read(TIDES, KNOTS, run_of(TIDES))

    report = shadow.report(limit=10)
    assert (report.compared, report.fields_compared, report.standing) == (3, 27, 0)
    assert (report.since, report.differences, report.incomparable) == (NOW, [], 0)


@pytest.mark.usefixtures("upstream")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("title", "Other"),
        ("course_type", "audit"),
        ("partners", []),
        ("start_date", None),
        ("end_date", NOW),
        ("enroll_by", NOW),
        ("price_cents", 1),
        ("price_cents", None),
    ],
)
def test_each_field_that_differs_is_recorded_with_both_values(column: str, value: Any) -> None:
    ours().update(**{column: value})

    read()

    [found] = ShadowDifference.objects.all()
    assert (found.content_key, found.field, found.times) == (TIDES, column, 1)
    assert found.replica_value == (
        value.isoformat().replace("+00:00", "Z") if column in ("end_date", "enroll_by") else value
    )
    assert found.upstream_value != found.replica_value
    assert ShadowTally.objects.get().different == 1


@pytest.mark.on_every_engine
def test_what_another_process_records_at_the_same_moment_is_recorded_once(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = inserted_by_another(monkeypatch, shadow)
    ours().update(title="Other", price_cents=None)

    read()

    assert standing() == [(TIDES, "price_cents"), (TIDES, "title")]
    assert (len(met), ShadowTally.objects.get().different) == (3, 2)


@pytest.mark.on_every_engine
def test_content_that_only_one_of_them_has_differs(upstream: Upstream) -> None:
    CatalogMembership.objects.filter(content__content_key=TIDES).delete()
    upstream.remove(KNOTS, catalog_uuid=CATALOG)

    read()

    assert standing() == [(KNOTS, "in_catalog"), (TIDES, "in_catalog")]
    values = dict(ShadowDifference.objects.values_list("content_key", "upstream_value"))
    assert values == {KNOTS: False, TIDES: True}


def test_a_run_under_another_course_differs(upstream: Upstream) -> None:
    ours(run_of(TIDES)).update(parent_key=KNOTS)

    read(run_of(TIDES))

    assert (run_of(TIDES), "parent") in standing()


@pytest.mark.usefixtures("upstream")
@pytest.mark.on_every_engine
def test_what_differs_again_is_counted_and_not_repeated_and_what_agrees_again_is_healed() -> None:
    ours().update(title="Other")
    read()
    read(hours=1)
    [row] = ShadowDifference.objects.all()
    assert (row.times, row.first_seen, row.last_seen, row.healed_at) == (2, NOW, NOW + HOUR, None)

    ours().update(title=f"About {TIDES}")
    read(hours=2)
    row.refresh_from_db()
    assert (row.times, row.healed_at) == (2, NOW + 2 * HOUR)
    assert (shadow.report(limit=10).standing, shadow.report(limit=10).healed) == (0, 1)

    ours().update(title="Again")
    read(hours=3)
    row.refresh_from_db()
    assert (row.times, row.healed_at, row.replica_value) == (3, None, "Again")


@pytest.mark.usefixtures("upstream")
def test_an_answer_is_compared_once_not_each_time_that_it_is_served() -> None:
    read()
    ours().update(title="Newer than what is remembered")
    read()

    assert ShadowTally.objects.get().compared == 2
    assert not standing()


def test_a_thin_record_says_nothing_of_a_full_row(upstream: Upstream) -> None:
    upstream.edit(TIDES, normalized_metadata=None)

    read(TIDES)

    report = shadow.report(limit=10)
    assert (report.compared, report.incomparable, report.standing) == (0, 1, 0)
    ours().update(completeness=Completeness.THIN)
    read(TIDES, hours=1)
    assert (TIDES, "price_cents") in standing()  # ours has one, and nothing to have it from


def test_a_run_that_upstream_does_not_find_by_its_key_any_more_says_nothing(upstream: Upstream) -> None:
    course = a_course(TIDES)
    del course["course_runs"][0]["parent_content_key"]
    upstream.database.put(course, catalogs=[str(CATALOG)])

    read(run_of(TIDES))

    assert (shadow.report(limit=1).incomparable, standing()) == (1, [])


@pytest.mark.usefixtures("upstream")
def test_what_differed_can_be_looked_at_again_though_it_is_not_read() -> None:
    ours().update(title="Other")
    ours(run_of(TIDES)).update(title="Other")
    read(TIDES, run_of(TIDES))
    ours().update(title=f"About {TIDES}")

    shadow.compare_again(clock=lambda: NOW + timedelta(seconds=1))

    assert standing() == [(run_of(TIDES), "title")]


def leaves(upstream: Upstream) -> None:
    """Remove TIDES, which our rows hold otherwise, from the catalog and from its memberships."""
    ContentMetadata.objects.filter(content_key__in=[TIDES, run_of(TIDES)]).update(title="Other")
    read(TIDES, run_of(TIDES))
    assert standing() == [(TIDES, "title"), (run_of(TIDES), "title")]
    upstream.remove(TIDES, catalog_uuid=CATALOG)
    CatalogMembership.objects.filter(content__content_key=TIDES).delete()


@pytest.mark.on_every_engine
def test_what_differed_is_healed_when_neither_has_the_content_any_more(upstream: Upstream) -> None:
    leaves(upstream)

    read(TIDES, run_of(TIDES), hours=1)

    assert (standing(), shadow.report(limit=1).healed) == ([], 2)


def test_what_left_both_and_is_not_read_any_more_is_healed_by_looking_again(upstream: Upstream) -> None:
    leaves(upstream)

    shadow.compare_again(clock=lambda: NOW + HOUR)

    assert standing() == []


def test_what_differed_before_upstream_served_only_a_part_stands_no_more(upstream: Upstream) -> None:
    ours().update(title="Other")
    read(TIDES)
    upstream.edit(TIDES, normalized_metadata=None)

    read(TIDES, hours=1)

    assert (standing(), shadow.report(limit=1).incomparable) == ([], 1)


@pytest.mark.usefixtures("upstream")
def test_a_key_that_neither_side_has_is_no_comparison() -> None:
    read("NobodyX+N1")

    assert not ShadowTally.objects.exists()
    assert not ShadowDifference.objects.exists()


@pytest.mark.usefixtures("upstream")
def test_what_is_healed_makes_room_for_what_differs_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "KEPT", 1)
    ours().update(title="Other")
    read(TIDES)
    ours().update(title=f"About {TIDES}")
    ours(KNOTS).update(title="Other")

    read(TIDES, hours=1)
    read(KNOTS, hours=1)

    assert (standing(), shadow.report(limit=1).unrecorded) == ([(KNOTS, "title")], 0)


@pytest.mark.usefixtures("upstream")
@pytest.mark.on_every_engine
def test_what_is_recorded_is_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "KEPT", 1)
    ContentMetadata.objects.update(title="Other")

    read()

    assert (ShadowDifference.objects.count(), shadow.report(limit=10).unrecorded) == (1, 1)


@pytest.mark.usefixtures("upstream")
@pytest.mark.on_every_engine
def test_a_comparison_that_cannot_be_kept_fails_no_reader(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_args: object, **_more: object) -> None:
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(shadow, "_record", full)
    with caplog.at_level(logging.WARNING):
        found = reads.from_upstream({CatalogKey(CATALOG, TIDES): TIDES}, now=NOW)

    assert found[CatalogKey(CATALOG, TIDES)] is not None
    assert "error=DatabaseError" in caplog.text
    assert "disk" not in caplog.text


@pytest.mark.usefixtures("upstream")
def test_comparing_fifty_takes_as_many_queries_as_comparing_one(
    django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]],
) -> None:
    read(TIDES)
    keys = (KNOTS, *(f"RiversideX+K{number}" for number in range(49)))
    answers = upstream_cache.look_up({CatalogKey(CATALOG, key): key for key in keys}, now=NOW).fetched_now
    assert len(answers) == 50
    with django_assert_max_num_queries(9):
        shadow.compare(answers, now=NOW)


def test_mode_upstream_compares_nothing(upstream: Upstream, settings: Settings) -> None:
    settings.CONTENT_READS = "upstream"

    read()

    assert not ShadowTally.objects.exists()
