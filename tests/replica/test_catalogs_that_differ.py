"""Two catalogs of one course, of which one has a run less: the row is as one of them has it, and stays so."""

from datetime import datetime

import pytest

from bursary.replica.models import CatalogMembership, ContentChange, ContentMetadata
from bursary.replica.refresh import RefreshReport
from tests.replica.listing import CATALOG, COURSE, NOW, OTHER_CATALOG, RUNS, Record, a_course, recorded
from tests.replica.replicated import HOUR, announcements, bring_in, row

pytestmark = pytest.mark.django_db


def with_a_run_less(course: Record) -> Record:
    """Return the course as a catalog has it that may not show its last run."""
    runs = [run for run in course["course_runs"] if run["key"] != RUNS[2]]
    return course | {"course_runs": runs, "advertised_course_run_uuid": runs[0]["uuid"]}


def ours(*, hours: int, **changes: object) -> RefreshReport:
    return bring_in(a_course(synced=stamp(hours), **changes), now=NOW + hours * HOUR)


def theirs(*, hours: int, **changes: object) -> RefreshReport:
    record = with_a_run_less(a_course(synced=stamp(hours), **changes))
    return bring_in(record, catalog_uuid=OTHER_CATALOG, now=NOW + hours * HOUR)


def another_course() -> Record:
    return next(record for record in recorded("courses") if record["key"] != COURSE)


def stamp(hours: int) -> str:
    return f"2026-11-22T{hours:02}:00:00Z"


def written() -> list[tuple[str, datetime]]:
    return list(ContentMetadata.objects.order_by("content_key").values_list("content_key", "changed_at"))


def test_once_each_was_fetched_nothing_is_written_however_often_they_are_read() -> None:
    ours(hours=0)
    theirs(hours=1)
    before, told = written(), ContentChange.objects.count()
    assert told

    with announcements() as announced:
        for hours in range(2, 8):
            report = (ours, theirs)[hours % 2](hours=hours)
            assert (report.changed, report.created) == (0, 0)

    assert (written(), ContentChange.objects.count(), announced) == (before, told, [])
    assert CatalogMembership.objects.filter(seen_at__gte=NOW + 6 * HOUR).count() == 2


def test_an_edit_arrives_whichever_is_read_first() -> None:
    ours(hours=0)
    theirs(hours=1)
    ours(hours=2)

    assert theirs(hours=3, title="Edited").changed
    assert row().title == "Edited"
    ours(hours=4, title="Edited again")
    assert row().title == "Edited again"


def test_a_repeated_record_brings_forward_the_catalog_that_the_row_came_from() -> None:
    theirs(hours=0)
    ours(hours=1)
    due_at = row().due_at
    assert due_at
    assert due_at > NOW + 3 * HOUR

    theirs(hours=2)

    assert row().fetched_from.endswith(str(CATALOG))
    assert row().due_at == NOW + 2 * HOUR


def test_when_the_catalog_that_the_row_came_from_has_it_no_more_the_next_record_of_another_counts() -> None:
    theirs(hours=0)
    ours(hours=1)
    for hours in (2, 4):
        bring_in(another_course(), now=NOW + hours * HOUR)
    holders = CatalogMembership.objects.filter(content=row()).values_list("catalog_uuid", flat=True)
    assert list(holders) == [OTHER_CATALOG]

    theirs(hours=5)

    assert row().fetched_from.endswith(str(OTHER_CATALOG))
    assert [run["key"] for run in row().payload["course_runs"]] == RUNS[:2]
    assert theirs(hours=6).changed == 0
