"""A course that gets another key while a listing is read, which names it by both, is one course again."""

from uuid import UUID

import pytest

from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import reads, refresh
from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ContentChange,
    ContentMetadata,
    RefreshTrigger,
)
from tests.replica.listing import Record
from tests.replica.serving import ALLOWED, HOUR, MOVE, NOW, ORDINARY, Catalogs, row_of, without_run
from tests.world import ALICE, BOB, allocate, given_budget

pytestmark = pytest.mark.django_db

NEW, NEWER = "MoveX+2", "MoveX+3"
RUN = f"course-v1:{MOVE}+R1"


def rename_key(catalogs: Catalogs, catalog: UUID, old: str, new: str) -> Record:
    record = catalogs.drop(catalog, old) | {"key": new}
    catalogs.serve(catalog, record)
    return record


def rename_while_listed(catalogs: Catalogs, catalog: UUID) -> None:
    """Let one listing name the course by its former key, and then, not ended yet, by its new one."""
    catalogs.sync(catalog, hours=1)
    CatalogListing.objects.filter(catalog_uuid=catalog).update(begun_at=NOW + HOUR)
    rename_key(catalogs, catalog, MOVE, NEW)
    read_by_key(catalogs, catalog, NEW, hours=1)
    assert row_of(catalog, NEW) != row_of(catalog, MOVE)


def read_by_key(catalogs: Catalogs, catalog: UUID, key: str, *, hours: float) -> None:
    now = NOW + hours * HOUR
    refresh.refresh_keys(
        [key], catalog_uuid=catalog, source=catalogs.source, now=now, trigger=RefreshTrigger.CRON
    )


def held(catalog: UUID) -> dict[str, str]:
    """Return the courses that name what the catalog holds of this course, by key; "" for itself."""
    rows = CatalogMembership.objects.filter(catalog_uuid=catalog, content__content_key__contains="MoveX")
    return dict(rows.values_list("content__content_key", "via_course"))


def test_memberships_and_assignments_follow_as_soon_as_the_former_key_is_not_found(
    catalogs: Catalogs,
) -> None:
    budget = given_budget(catalog_uuid=ORDINARY)
    for key, learner in ((MOVE, ALICE), (RUN, BOB)):
        allocate(budget, row_of(ORDINARY, key), learner, now=NOW, price_cents=2000)
    rename_while_listed(catalogs, ORDINARY)

    catalogs.sync(ORDINARY, hours=8)

    assert held(ORDINARY) == {NEW: "", RUN: NEW}
    rows = LearnerContentAssignment.objects.order_by("pk")
    assert list(rows.values_list("content_key", "parent_content_key", "content__content_key")) == [
        (NEW, "", NEW),
        (RUN, NEW, RUN),
    ]
    for key in (MOVE, NEW):
        assert reads.content_for(key, catalog_uuid=ORDINARY, now=NOW + 8 * HOUR) == row_of(ORDINARY, NEW)
    assert reads.content_for(MOVE, catalog_uuid=ALLOWED, now=NOW + 8 * HOUR).content_key == MOVE
    moved = ContentChange.objects.filter(content=row_of(ORDINARY, NEW), field="content_key")
    assert list(moved.values_list("old", "new", "catalog_uuid")) == [(MOVE, NEW, ORDINARY)]


def test_assignments_of_another_catalog_stay_until_it_is_served_the_new_key(catalogs: Catalogs) -> None:
    allocate(given_budget(catalog_uuid=ALLOWED), row_of(ALLOWED, MOVE), ALICE, now=NOW, price_cents=2000)
    assignments = LearnerContentAssignment.objects.values_list("content_key", "content__content_key")
    rename_while_listed(catalogs, ORDINARY)
    catalogs.sync_both(hours=8)
    assert list(assignments.all()) == [(MOVE, MOVE)]

    rename_key(catalogs, ALLOWED, MOVE, NEW)
    catalogs.sync_both(hours=9)

    assert list(assignments.all()) == [(NEW, NEW)]
    assert held(ALLOWED) == {NEW: "", RUN: NEW}
    assert ContentMetadata.objects.get(content_key=MOVE).gone_at == NOW + 9 * HOUR


def test_the_former_key_gone_from_a_catalog_is_no_cause_for_alarm(catalogs: Catalogs) -> None:
    rename_while_listed(catalogs, ORDINARY)

    catalogs.sync(ORDINARY, hours=8)

    assert not CatalogMembership.objects.exclude(missing_since=None).exists()
    assert not CatalogListing.objects.exclude(alarm="").exists()


def test_a_course_of_two_rows_gets_a_third_key_and_its_former_one_back(catalogs: Catalogs) -> None:
    allocate(given_budget(catalog_uuid=ORDINARY), row_of(ORDINARY, MOVE), ALICE, now=NOW, price_cents=2000)
    rename_while_listed(catalogs, ORDINARY)
    rename_key(catalogs, ALLOWED, MOVE, NEW)
    catalogs.sync_both(hours=8)
    before = row_of(ORDINARY, NEW)
    for catalog in (ORDINARY, ALLOWED):
        rename_key(catalogs, catalog, NEW, NEWER)
    catalogs.sync_both(hours=9)
    assert row_of(ORDINARY, NEWER) == row_of(ALLOWED, NEWER) == before
    assert held(ORDINARY) == held(ALLOWED) == {NEWER: "", RUN: NEWER}

    for catalog in (ORDINARY, ALLOWED):
        rename_key(catalogs, catalog, NEWER, MOVE)
    catalogs.sync_both(hours=80)
    catalogs.sync_both(hours=82)

    assert held(ORDINARY) == held(ALLOWED) == {MOVE: "", RUN: MOVE}
    assert LearnerContentAssignment.objects.get().content == row_of(ORDINARY, MOVE)
    for key in (MOVE, NEW, NEWER):
        found = reads.content_for(key, catalog_uuid=ORDINARY, now=NOW + 82 * HOUR)
        assert found == row_of(ORDINARY, MOVE)


def test_a_run_ends_with_the_record_that_named_it_though_another_catalog_has_it_from_the_new_key(
    catalogs: Catalogs,
) -> None:
    rename_while_listed(catalogs, ORDINARY)
    assert row_of(ALLOWED, RUN).parent_key == NEW
    assert held(ALLOWED) == {MOVE: "", RUN: MOVE}
    catalogs.serve(ALLOWED, without_run(catalogs.records[ALLOWED][MOVE], RUN))

    read_by_key(catalogs, ALLOWED, MOVE, hours=2)

    assert held(ALLOWED) == {MOVE: ""}


def test_a_run_ends_with_its_course_though_another_catalog_has_it_from_the_new_key(
    catalogs: Catalogs,
) -> None:
    rename_while_listed(catalogs, ORDINARY)
    catalogs.drop(ALLOWED, MOVE)

    for hours in (2, 4):
        catalogs.sync(ALLOWED, hours=hours)

    assert held(ALLOWED) == {}
