"""A course that upstream knows by another key: its row, runs and assignments follow; both keys find it."""

from uuid import UUID

import pytest
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import allocation, derived_audit
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica import reads, refresh
from bursary.replica.ingest import BATCH
from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ContentChange,
    ContentMetadata,
    RefreshTrigger,
)
from tests.api.door import Door
from tests.replica.listing import Record
from tests.replica.serving import ALLOWED, HOUR, MOVE, NOW, ORDINARY, Catalogs, row_of, without_run
from tests.world import ALICE, BOB, allocate, given_api_key, given_budget, given_user

pytestmark = pytest.mark.django_db

NEW = "MoveX+2"
RUN = f"course-v1:{MOVE}+R1"


def renamed(catalogs: Catalogs, catalog: UUID) -> Record:
    record = catalogs.drop(catalog, MOVE) | {"key": NEW}
    catalogs.serve(catalog, record)
    return record


@pytest.mark.on_every_engine
def test_rows_runs_memberships_and_assignments_follow(catalogs: Catalogs) -> None:
    before = row_of(ORDINARY, MOVE)
    budget = given_budget(catalog_uuid=ORDINARY)
    for content, learner in ((before, ALICE), (row_of(ORDINARY, RUN), BOB)):
        allocate(budget, content, learner, now=NOW, price_cents=2000)
    for catalog in (ORDINARY, ALLOWED):
        renamed(catalogs, catalog)

    catalogs.sync_both(hours=1)

    assert row_of(ORDINARY, NEW) == row_of(ALLOWED, NEW) == before
    assert row_of(ORDINARY, RUN).parent_key == NEW
    named = CatalogMembership.objects.filter(content__content_key=RUN)
    assert set(named.values_list("via_course", flat=True)) == {NEW}
    assert not ContentMetadata.objects.filter(content_key=MOVE).exists()
    keys = LearnerContentAssignment.objects.order_by("pk").values_list("content_key", "parent_content_key")
    assert list(keys) == [(NEW, ""), (RUN, NEW)]
    changes = ContentChange.objects.filter(content=before).values_list("field", "old", "new")
    assert list(changes) == [("content_key", MOVE, NEW)]
    for key in (MOVE, NEW):
        assert reads.content_for(key, catalog_uuid=ORDINARY, now=NOW + HOUR) == before


def test_a_catalog_that_lags_behind_goes_on_holding_it_and_takes_the_key_back_from_nothing(
    catalogs: Catalogs,
) -> None:
    before = row_of(ORDINARY, MOVE)
    renamed(catalogs, ORDINARY)
    for hours in range(1, 6):
        catalogs.sync_both(hours=hours)

    assert row_of(ORDINARY, NEW) == row_of(ALLOWED, NEW) == before
    assert ContentChange.objects.filter(field="content_key").count() == 1
    assert ContentChange.objects.count() == 1

    renamed(catalogs, ALLOWED)
    catalogs.sync_both(hours=6)
    assert row_of(ALLOWED, NEW) == before


def test_a_listing_that_was_never_ended_makes_no_two_courses_of_it(catalogs: Catalogs) -> None:
    before = row_of(ORDINARY, MOVE)
    CatalogListing.objects.filter(catalog_uuid=ORDINARY).update(begun_at=NOW - HOUR)
    catalogs.sync(ALLOWED, hours=1)
    renamed(catalogs, ORDINARY)

    refresh.refresh_keys(
        [NEW], catalog_uuid=ORDINARY, source=catalogs.source, now=NOW + 6 * HOUR, trigger=RefreshTrigger.CRON
    )

    assert row_of(ORDINARY, NEW) == before


def test_a_course_that_is_there_by_both_keys_is_two(catalogs: Catalogs) -> None:
    catalogs.serve(ORDINARY, catalogs.records[ORDINARY][MOVE] | {"key": NEW})

    catalogs.sync_both(hours=1)

    assert row_of(ORDINARY, NEW) != row_of(ORDINARY, MOVE)


def test_a_course_that_one_listing_names_on_another_page_by_another_key_is_two(catalogs: Catalogs) -> None:
    for number in range(BATCH):
        record = catalogs.records[ORDINARY][MOVE] | {
            "key": f"FillX+{number}",
            "uuid": None,
            "course_runs": [],
        }
        catalogs.serve(ORDINARY, record)
    catalogs.serve(ORDINARY, catalogs.records[ORDINARY][MOVE] | {"key": NEW})

    catalogs.sync(ORDINARY, hours=1)

    assert row_of(ORDINARY, NEW) != row_of(ORDINARY, MOVE)


@pytest.mark.on_every_engine
def test_a_course_that_gets_its_former_key_back_has_it_after_two_days(catalogs: Catalogs) -> None:
    before = row_of(ORDINARY, MOVE)
    former = {catalog: catalogs.records[catalog][MOVE] for catalog in (ORDINARY, ALLOWED)}
    for catalog in former:
        renamed(catalogs, catalog)
    catalogs.sync_both(hours=1)
    for catalog, record in former.items():
        catalogs.drop(catalog, NEW)
        catalogs.serve(catalog, record | {"title": "Edited"})

    for hours in range(2, 48, 5):
        catalogs.sync_both(hours=hours)
        assert row_of(ORDINARY, NEW) == row_of(ALLOWED, NEW) == before
        assert row_of(ORDINARY, RUN).parent_key == NEW
    catalogs.sync_both(hours=50)

    assert row_of(ORDINARY, MOVE) == row_of(ALLOWED, MOVE) == before
    assert (row_of(ORDINARY, MOVE).title, row_of(ORDINARY, RUN).parent_key) == ("Edited", MOVE)
    keys = ContentChange.objects.filter(field="content_key").values_list("old", "new")
    assert list(keys) == [(MOVE, NEW), (NEW, MOVE)]


def test_a_learner_redeems_it_by_either_key(catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = given_budget(catalog_uuid=ORDINARY)
    learner = given_user(Role.LEARNER, customer=budget.customer, email=ALICE)
    allocate(budget, row_of(ORDINARY, MOVE), ALICE, now=NOW, price_cents=2000)
    renamed(catalogs, ORDINARY)
    catalogs.sync(ORDINARY, hours=1)
    monkeypatch.setattr(timezone, "now", lambda: NOW + HOUR)
    door = Door(key=given_api_key(learner))
    asked = f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/"

    verdicts = door.get(asked, content_key=[MOVE, NEW]).json()
    assert [(one["content_key"], one["can_redeem"]) for one in verdicts] == [(MOVE, True), (NEW, True)]
    for key in (MOVE, NEW):
        redeemed = door.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": key}).json()
        assert redeemed["state"] == "committed"
    budget.refresh_from_db()
    assert budget.spent_cents == 2000


@pytest.mark.on_every_engine
def test_lists_find_it_and_its_runs_by_either_key(
    catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = given_budget(catalog_uuid=ORDINARY)
    door = Door(key=given_api_key(given_user(Role.ADMINISTRATOR, customer=budget.customer)))
    allocate(budget, row_of(ORDINARY, MOVE), ALICE, now=NOW, price_cents=2000)
    renamed(catalogs, ORDINARY)
    catalogs.sync(ORDINARY, hours=1)
    monkeypatch.setattr(timezone, "now", lambda: NOW + HOUR)

    assigned = f"assignment-configurations/{budget.assignment_configuration_uuid}/admin/assignments/"
    for key in (MOVE, NEW):
        for name in ("content_key", "content_key__in"):
            listed = door.get(assigned, **{name: key}).json()["results"]
            assert [(one["learner_email"], one["content_key"]) for one in listed] == [(ALICE, NEW)]
        runs = door.get("content-metadata/", parent=key).json()["results"]
        assert [one["content_key"] for one in runs] == [RUN]
        assert door.get(f"content-metadata/{key}/").json()["content_key"] == NEW


@pytest.mark.on_every_engine
def test_an_assigned_run_follows_to_another_course(catalogs: Catalogs) -> None:
    budget = given_budget(catalog_uuid=ORDINARY)
    for learner, key in ((ALICE, RUN), (BOB, MOVE)):
        allocate(budget, row_of(ORDINARY, key), learner, now=NOW, price_cents=2000)
    other = "OtherX+7"
    moving = catalogs.drop(ORDINARY, MOVE)
    catalogs.serve(ORDINARY, without_run(moving, RUN))
    catalogs.serve(ORDINARY, moving | {"key": other, "uuid": "00000000-0000-4000-8000-000000000077"})

    catalogs.sync(ORDINARY, hours=1)

    keys = LearnerContentAssignment.objects.order_by("pk").values_list("content_key", "parent_content_key")
    assert list(keys) == [(RUN, other), (MOVE, "")]
    assert derived_audit.audit(clock=lambda: NOW + HOUR).differences == []


def test_a_new_course_by_a_former_key_is_redeemed_by_that(
    catalogs: Catalogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = given_budget(catalog_uuid=ORDINARY)
    learner = given_user(Role.LEARNER, customer=budget.customer, email=ALICE)
    served = renamed(catalogs, ORDINARY)
    catalogs.sync(ORDINARY, hours=1)
    run = served["course_runs"][0] | {"key": f"{RUN}-NEW", "uuid": "00000000-0000-4000-8000-000000000078"}
    terms = {run["key"]: served["normalized_metadata"]}
    another = {"key": MOVE, "uuid": "00000000-0000-4000-8000-000000000077", "course_runs": [run]}
    catalogs.serve(ORDINARY, served | another | {"normalized_metadata_by_run": terms})
    catalogs.sync(ORDINARY, hours=2)
    allocate(budget, row_of(ORDINARY, MOVE), ALICE, now=NOW + 2 * HOUR, price_cents=2000)
    monkeypatch.setattr(timezone, "now", lambda: NOW + 2 * HOUR)
    door = Door(key=given_api_key(learner))

    asked = f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/"
    assert [one["can_redeem"] for one in door.get(asked, content_key=[MOVE, NEW]).json()] == [True, False]
    redeemed = door.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": MOVE}).json()
    assert (redeemed["state"], redeemed["content_key"]) == ("committed", MOVE)


def test_a_preview_by_the_former_key_is_of_what_would_be_allocated(catalogs: Catalogs) -> None:
    budget = given_budget(catalog_uuid=ORDINARY)
    allocate(budget, row_of(ORDINARY, MOVE), ALICE, now=NOW, price_cents=2000)
    renamed(catalogs, ORDINARY)
    catalogs.sync(ORDINARY, hours=1)

    seen = allocation.preview(budget, content_key=MOVE, price_cents=2000, entries=[ALICE], now=NOW + HOUR)

    assert [one.verdict for one in seen.matches] == [Verdict.ALREADY_ASSIGNED]
