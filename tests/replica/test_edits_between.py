"""An edit upstream that one catalog is read before and another after: one change a field, and no variant."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import refresh
from bursary.replica.models import ContentChange, ContentMetadata, RefreshTrigger
from tests.replica import agreement
from tests.replica.listing import Record
from tests.replica.replicated import announcements
from tests.replica.serving import ALLOWED, HOUR, MOVE, NOW, ORDINARY, PRIV, Catalogs, row_of
from tests.world import ALICE, allocate, given_budget

pytestmark = pytest.mark.django_db

RUN = f"course-v1:{MOVE}+R1"
EARLIER, SERVED, LATER, LATEST = (f"2026-11-2{day}T06:00:00Z" for day in (5, 6, 7, 8))


def with_terms(record: Record, **terms: object) -> Record:
    """Return the course on other terms, which are those of its run."""
    changed = deepcopy(record)
    for one in (changed["normalized_metadata"], *changed["normalized_metadata_by_run"].values()):
        one.update(terms)
    return changed


EDITED = ("enroll_by", "price_cents", "start_date", "title")


def edited(record: Record) -> Record:
    terms = {"enroll_by_date": "2027-02-03T00:00:00Z", "start_date": "2027-03-03T00:00:00Z"}
    return with_terms(record, content_price=77.0, **terms) | {"title": "Another title"}


def edit(catalogs: Catalogs, changed: Callable[[Record], Record], *, stamp: str) -> None:
    for catalog in (ORDINARY, ALLOWED):
        catalogs.serve(catalog, changed(catalogs.records[catalog][MOVE]) | {"content_last_modified": stamp})


@pytest.mark.parametrize("stamp", [LATEST, SERVED], ids=["stamped", "stamp stays"])
@pytest.mark.parametrize("before", [ORDINARY, ALLOWED], ids=["ordinary first", "allowed first"])
def test_it_is_one_change_of_each_field_whichever_catalog_is_read_first(
    catalogs: Catalogs, before: UUID, stamp: str
) -> None:
    after = ALLOWED if before == ORDINARY else ORDINARY
    allocate(given_budget(catalog_uuid=before), row_of(before, MOVE), ALICE, now=NOW, price_cents=2000)
    pk = row_of(before, MOVE).pk
    old = ContentMetadata.objects.values(*EDITED).get(pk=pk)
    edit(catalogs, lambda record: record, stamp=SERVED)
    catalogs.sync(before, hours=1)
    edit(catalogs, edited, stamp=stamp)

    with announcements() as announced:
        for hours, catalog in enumerate((after, before, after, before), start=2):
            catalogs.sync(catalog, hours=hours)

    changes = ContentChange.objects.filter(content=pk).values_list("field", "catalog_uuid")
    assert sorted(changes) == [(field, None) for field in EDITED]
    assert agreement.most_changes_of_a_field(since=0) == 1
    new = ContentMetadata.objects.values(*EDITED).get(pk=pk)
    assert all(new[field] != old[field] for field in EDITED)
    assert row_of(before, MOVE) == row_of(after, MOVE)
    assert ContentMetadata.objects.get(content_key=MOVE).variant == ""
    assert [pk in one["pks"] for one in announced] == [True]
    agreement.check_history()


def test_of_two_catalogs_the_later_fetch_wins_whatever_their_stamps_say(catalogs: Catalogs) -> None:
    """An edit of a catalog stamps all that it serves: its stamps say nothing of another's."""
    record = catalogs.records[ORDINARY][MOVE]
    catalogs.serve(ALLOWED, record | {"content_last_modified": LATER})
    catalogs.sync(ALLOWED, hours=1)
    catalogs.serve(ORDINARY, record | {"content_last_modified": SERVED, "title": "Edited"})

    catalogs.sync(ORDINARY, hours=2)
    assert row_of(ORDINARY, MOVE).title == "Edited"

    catalogs.serve(ALLOWED, record | {"content_last_modified": LATER, "title": "Edited"})
    catalogs.sync(ALLOWED, hours=3)
    catalogs.sync(ORDINARY, hours=4)
    changes = ContentChange.objects.filter(field="title", content=row_of(ORDINARY, MOVE))
    assert list(changes.values_list("new", flat=True)) == ["Edited"]


@pytest.mark.parametrize("stamp", [EARLIER, LATEST])
def test_of_two_catalogs_a_fetch_that_began_earlier_and_ends_later_loses(
    catalogs: Catalogs, stamp: str
) -> None:
    under_way = catalogs.before(MOVE, title="Before", content_last_modified=stamp)
    catalogs.edit(MOVE, title="Edited", content_last_modified=LATER)
    catalogs.sync(ORDINARY, hours=2)

    refresh.refresh_keys(
        [MOVE], catalog_uuid=ALLOWED, source=under_way, now=NOW + HOUR, trigger=RefreshTrigger.CRON
    )

    assert row_of(ALLOWED, MOVE).title == "Edited"
    assert ContentChange.objects.filter(new="Before").count() == 0


def test_of_one_catalog_the_older_stamp_loses_though_it_was_fetched_later(catalogs: Catalogs) -> None:
    catalogs.edit(MOVE, title="Edited", content_last_modified=LATER)
    catalogs.sync(ORDINARY, hours=24)
    catalogs.edit(MOVE, title="From a stale cache", content_last_modified=SERVED)

    report = catalogs.sync(ORDINARY, hours=25)

    assert (report.refused_older, row_of(ORDINARY, MOVE).title) == (2, "Edited")


def test_where_catalogs_differ_it_is_one_change_in_each_row(catalogs: Catalogs) -> None:
    catalogs.sync(ORDINARY, hours=1)
    catalogs.edit(PRIV, title="Edited", content_last_modified=LATER)

    for hours, catalog in enumerate((ALLOWED, ORDINARY, ALLOWED, ORDINARY), start=2):
        catalogs.sync(catalog, hours=hours)

    rows = ContentMetadata.objects.filter(content_key=PRIV)
    assert {row.pk: row.title for row in rows} == {
        row_of(catalog, PRIV).pk: "Edited" for catalog in (ORDINARY, ALLOWED)
    }
    changes = ContentChange.objects.filter(content__in=rows)
    assert sorted(changes.values_list("content", "field")) == sorted((row.pk, "title") for row in rows)


def test_a_run_that_another_catalog_was_served_first_moves_the_deadlines_of_this_one_too(
    catalogs: Catalogs,
) -> None:
    for catalog in (ORDINARY, ALLOWED):
        budget = given_budget(catalog_uuid=catalog, allocation_age_days=3650)
        allocate(budget, row_of(catalog, MOVE), ALICE, now=NOW, price_cents=2000)
    record = deepcopy(catalogs.records[ORDINARY][MOVE])
    later = {"enroll_by_date": "2031-05-05T00:00:00Z", "end_date": "2032-05-05T00:00:00Z"}
    record["course_runs"].append(record["course_runs"][0] | {"key": f"{RUN}b", "uuid": None})
    terms = record["normalized_metadata_by_run"]
    terms[f"{RUN}b"] = terms[RUN] | later
    edit(catalogs, lambda _before: record, stamp=LATER)

    for hours, catalog in enumerate((ORDINARY, ALLOWED), start=1):
        catalogs.sync(catalog, hours=hours)

    dates = LearnerContentAssignment.objects.values_list("content_enroll_by", flat=True)
    assert list(dates) == [datetime(2031, 5, 5, tzinfo=UTC)] * 2


@pytest.mark.parametrize("stamp", [None, LATEST], ids=["stamps stay", "stamps move"])
def test_a_full_sync_without_changes_writes_when_it_was_and_nothing_else(
    catalogs: Catalogs, stamp: str | None
) -> None:
    for catalog in (ORDINARY, ALLOWED):
        budget = given_budget(catalog_uuid=catalog)
        for key in (MOVE, PRIV):
            row = row_of(catalog, key)
            allocate(budget, row, ALICE, now=NOW, price_cents=row.price_cents or 0)
    before = agreement.what_lasts()
    for key in catalogs.records[ORDINARY] if stamp else ():
        catalogs.edit(key, content_last_modified=stamp)

    with announcements() as announced:
        for hours in (1, 2):
            catalogs.sync_both(hours=hours)

    assert announced == []
    assert agreement.what_lasts() == before
