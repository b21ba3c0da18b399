"""Refreshers meet: they wait for each other, and none of them fails."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction

from bursary.replica import reads, refresh
from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import (
    CATALOG,
    COURSE,
    LATER,
    NOW,
    Listing,
    Record,
    a_course,
    enrolling_by,
    recorded,
)
from tests.together import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]

REFRESHERS = 4
BATCH = 20
COURSES = 2 * BATCH
"""Two batches: refreshers meet within one, and between them."""


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch have fewer rows than usual: what meets is two batches, however large."""
    monkeypatch.setattr(refresh, "BATCH", BATCH)


def at_once(tasks: list[Callable[[], RefreshReport]]) -> list[RefreshReport]:
    """Run the tasks at the same moment; return their answers, or raise what one raised."""
    reports = []
    for done in together(tasks):
        if isinstance(done, Exception):
            raise done
        reports.append(done)
    return reports


def refresher(records: list[Record], *, seconds: int) -> Callable[[], RefreshReport]:
    now = NOW + timedelta(seconds=seconds)
    source = Listing(records)
    return lambda: refresh.refresh_catalog(CATALOG, source=source, now=now, trigger=RefreshTrigger.CRON)


def rows_of(courses: list[Record]) -> int:
    return len(courses) + sum(len(course["course_runs"]) for course in courses)


def turned(records: list[Record], by: int) -> list[Record]:
    return records[by:] + records[:by]


def backwards_in_batches(records: list[Record]) -> list[Record]:
    starts = range(0, len(records), BATCH)
    return [record for start in starts for record in records[start : start + BATCH][::-1]]


@pytest.mark.needs_row_locks
def test_refreshers_of_new_content_wait_for_each_other_and_create_each_row_once() -> None:
    courses = recorded("courses")[:COURSES]
    # Other batches, in another order, for each of them: they meet in the middle.
    tasks = [refresher(turned(courses, 15 * number), seconds=number) for number in range(REFRESHERS)]

    reports = at_once(tasks)

    assert ContentMetadata.objects.count() == sum(report.created for report in reports) == rows_of(courses)
    assert CatalogMembership.objects.filter(via_course="").count() == len(courses)
    assert not any(report.unparsable_total for report in reports)
    assert not ContentChange.objects.exists()


@pytest.mark.needs_row_locks
def test_refreshers_of_the_same_new_content_do_not_depend_on_its_order() -> None:
    courses = recorded("courses")[:COURSES]
    orders = [courses, backwards_in_batches(courses)] * 2

    reports = at_once([refresher(records, seconds=number) for number, records in enumerate(orders)])

    assert sum(report.created for report in reports) == ContentMetadata.objects.count() == rows_of(courses)
    assert not any(report.unparsable_total for report in reports)


@pytest.mark.needs_row_locks
def test_refreshers_of_changed_content_record_each_change_once() -> None:
    courses = recorded("courses")[:COURSES]
    refresher(courses, seconds=0)()
    changed = [record | {"title": "New", "content_last_modified": LATER} for record in courses]
    tasks = [
        refresher(turned(changed[::-1] if number % 2 else changed, 9 * number), seconds=number + 1)
        for number in range(REFRESHERS)
    ]

    at_once(tasks)

    assert ContentChange.objects.filter(field="title", content__content_type="course").count() == len(courses)
    assert ContentMetadata.objects.filter(content_type="course", title="New").count() == len(courses)


@pytest.mark.needs_row_locks
def test_new_and_known_content_in_one_batch_closes_no_circle() -> None:
    courses = recorded("courses")[:COURSES]
    refresher(courses[::2], seconds=0)()

    reports = at_once([refresher(turned(courses, 5 * number), seconds=number + 1) for number in range(4)])

    assert not any(report.unparsable_total for report in reports)
    assert ContentMetadata.objects.filter(content_type="course").count() == COURSES


def test_readers_are_served_while_a_refresh_holds_the_row() -> None:
    refresher([a_course()], seconds=0)()

    def read_meanwhile(**_announcement: object) -> None:
        with ThreadPoolExecutor(1) as thread:
            served.append(thread.submit(read).result(timeout=120))

    def read() -> str:
        try:
            content = reads.content_for(COURSE, catalog_uuid=CATALOG, now=NOW)
            return str(content.enroll_by)
        finally:
            connection.close()

    served: list[str] = []
    refresh.content_changed.connect(read_meanwhile)
    try:
        refresher([enrolling_by("2028-09-01T00:00:00Z", synced=LATER)], seconds=60)()
    finally:
        refresh.content_changed.disconnect(read_meanwhile)

    assert served == ["2028-10-01 23:59:59+00:00"]
    assert str(ContentMetadata.objects.get(content_key=COURSE).enroll_by) == "2028-09-01 00:00:00+00:00"


def test_a_refresh_inside_a_transaction_is_refused() -> None:
    with transaction.atomic(), pytest.raises(RuntimeError):
        refresher([a_course()], seconds=0)()

    assert not ContentMetadata.objects.exists()
