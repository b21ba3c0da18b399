"""Two catalogs that are served other records of one course: each sees what it is served, and no more."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from bursary.assignments import expiry
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.ops import backfill_runs
from bursary.replica import audit, explain, merge, reads, refresh, schedule
from bursary.replica.models import (
    CatalogListing,
    CatalogMembership,
    ContentChange,
    ContentMetadata,
    RefreshTrigger,
)
from tests.replica.replicated import announcements
from tests.replica.serving import (
    ALLOWED,
    HOUR,
    MOVE,
    NOW,
    ONLY,
    ORDINARY,
    PRIV,
    PRIVATE_RUN,
    PUBLIC_RUN,
    Catalogs,
    row_of,
    without_run,
)
from tests.world import ALICE, BOB, allocate, given_budget

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
PUBLIC_CLOSES = datetime(2028, 4, 14, 23, 59, 59, tzinfo=UTC)
PRIVATE_CLOSES = datetime(2027, 12, 5, tzinfo=UTC)


def held(catalog: UUID) -> dict[str, ContentMetadata]:
    return {row.content_key: row for row in reads.held_by(catalog)}


def check_views(catalogs: Catalogs) -> None:
    """Each catalog holds what it is served, in one row a key, and each field is as it is served."""
    for catalog in (ORDINARY, ALLOWED):
        served, rows = catalogs.contents(catalog), held(catalog)
        assert rows.keys() == served.keys()
        assert reads.held_by(catalog).count() == len(served)
        for key, content in served.items():
            said = {name: getattr(rows[key], name) for name in merge.COLUMNS}
            assert said == merge.column_values(content), key
            assert rows[key].gone_at is None


def assigned(catalog: UUID, key: str = PRIV, *, to: str = ALICE) -> LearnerContentAssignment:
    """Allocate the course from a budget of the catalog, at the catalog's price."""
    content = row_of(catalog, key)
    budget = given_budget(catalog_uuid=catalog, allocation_age_days=3650)
    allocate(budget, content, to, now=NOW, price_cents=content.price_cents or 0)
    return LearnerContentAssignment.objects.get(budget=budget)


@pytest.mark.on_every_engine
def test_each_catalog_sees_what_it_is_served(catalogs: Catalogs) -> None:
    check_views(catalogs)
    ordinary, allowed = row_of(ORDINARY, PRIV), row_of(ALLOWED, PRIV)
    assert (ordinary.price_cents, ordinary.enroll_by) == (5000, datetime(2028, 4, 14, 23, 59, 59, tzinfo=UTC))
    assert (allowed.price_cents, allowed.enroll_by) == (7500, datetime(2027, 12, 5, tzinfo=UTC))
    assert (row_of(ORDINARY, ONLY).price_cents, row_of(ALLOWED, ONLY).price_cents) == (None, 9000)
    assert row_of(ORDINARY, MOVE) == row_of(ALLOWED, MOVE)
    assert ContentMetadata.objects.filter(content_key=MOVE).get().variant == ""
    assert ContentMetadata.objects.filter(content_key=PUBLIC_RUN).count() == 1


def test_a_restricted_run_is_read_by_the_catalog_that_may_have_it_alone(catalogs: Catalogs) -> None:
    assert reads.content_for(PRIVATE_RUN, catalog_uuid=ALLOWED, now=NOW).price_cents == 7500
    with pytest.raises(reads.UnknownContent):
        reads.content_for(PRIVATE_RUN, catalog_uuid=ORDINARY, now=NOW)
    assert reads.content_for(PRIV, catalog_uuid=ORDINARY, now=NOW).price_cents == 5000


@pytest.mark.on_every_engine
def test_syncs_that_take_turns_write_no_change(catalogs: Catalogs) -> None:
    rows = ContentMetadata.objects.order_by("pk").values_list("pk", "changed_at", "fetched_at")
    before = list(rows)
    with announcements() as announced:
        for hours in range(1, 9):
            catalogs.sync((ORDINARY, ALLOWED)[hours % 2], hours=hours)

    assert (
        list(ContentMetadata.objects.order_by("pk").values_list("pk", "changed_at", "fetched_at")) == before
    )
    assert (announced, ContentChange.objects.count()) == ([], 0)
    check_views(catalogs)


def test_an_edit_that_one_catalog_is_read_before_and_another_after_is_one_change(catalogs: Catalogs) -> None:
    catalogs.edit(PRIV, title="Negotiating", content_last_modified="2026-11-27T12:30:00Z")
    for hours in (1, 2, 3, 4):
        catalogs.sync((ORDINARY, ALLOWED)[hours % 2], hours=hours)
    catalogs.edit(MOVE, title="Moved", content_last_modified="2026-11-27T16:30:00Z")
    under_way = catalogs.before(MOVE, title="Same everywhere")
    catalogs.sync(ORDINARY, hours=5)
    began = NOW + 4.5 * HOUR
    refresh.refresh_keys(
        [MOVE], catalog_uuid=ALLOWED, source=under_way, now=began, trigger=RefreshTrigger.CRON
    )
    catalogs.sync(ALLOWED, hours=6)

    titles = ContentChange.objects.filter(field="title").values_list("content__content_key", "old", "new")
    assert sorted(titles.exclude(content__content_type="courserun")) == [
        (MOVE, "Same everywhere", "Moved"),
        (PRIV, "Negotiation", "Negotiating"),
        (PRIV, "Negotiation", "Negotiating"),  # once a row
    ]
    assert ContentMetadata.objects.filter(content_key=MOVE).count() == 1
    check_views(catalogs)


@pytest.mark.on_every_engine
def test_a_withdrawn_run_moves_the_catalog_and_its_assignments_to_the_other_row(catalogs: Catalogs) -> None:
    theirs, ours = assigned(ALLOWED), assigned(ORDINARY)
    allowed = catalogs.records[ALLOWED][PRIV]
    private = row_of(ALLOWED, PRIV)
    catalogs.serve(ALLOWED, catalogs.records[ORDINARY][PRIV])

    with announcements() as announced:
        catalogs.sync(ALLOWED, hours=1)

    check_views(catalogs)
    public = row_of(ORDINARY, PRIV)
    assert announced[0]["repointed"] == [(ALLOWED, private.pk, public.pk)]
    private.refresh_from_db()
    assert private.gone_at == NOW + HOUR
    theirs.refresh_from_db()
    assert (theirs.content, theirs.expires_at) == (public, public.enroll_by)
    before = ours.expires_at
    ours.refresh_from_db()
    assert ours.expires_at == before
    moved = ContentChange.objects.filter(content=public, catalog_uuid=ALLOWED)
    assert dict(moved.values_list("field", "new"))["price_cents"] == 5000

    catalogs.serve(ALLOWED, allowed)
    catalogs.sync(ALLOWED, hours=2)

    check_views(catalogs)
    theirs.refresh_from_db()
    # The last run that its learner can join closes then: the public one, which both catalogs have.
    assert (theirs.content, theirs.content_enroll_by) == (private, PUBLIC_CLOSES)


@pytest.mark.on_every_engine
def test_no_assignment_is_expired_by_a_date_of_another_catalog(catalogs: Catalogs) -> None:
    catalogs.serve(ALLOWED, without_run(catalogs.records[ALLOWED][PRIV], PUBLIC_RUN))
    catalogs.sync(ALLOWED)
    ours, theirs = assigned(ORDINARY, to=ALICE), assigned(ALLOWED, to=BOB)
    assert (ours.expires_at, theirs.expires_at) == (PUBLIC_CLOSES, PRIVATE_CLOSES)
    for hours in range(1, 5):
        catalogs.sync((ORDINARY, ALLOWED)[hours % 2], hours=hours)

    expiry.expire_due(now=datetime(2027, 12, 7, tzinfo=UTC))

    states = dict(LearnerContentAssignment.objects.values_list("pk", "state"))
    assert states == {ours.pk: State.ALLOCATED, theirs.pk: State.EXPIRED}


def test_the_advertised_run_switches_for_one_catalog_alone(catalogs: Catalogs) -> None:
    record = catalogs.records[ALLOWED][PRIV]
    public = record["course_runs"][0]
    terms_ = record["normalized_metadata_by_run"][PUBLIC_RUN]
    catalogs.serve(
        ALLOWED, record | {"advertised_course_run_uuid": public["uuid"], "normalized_metadata": terms_}
    )

    catalogs.sync_both(hours=1)

    check_views(catalogs)
    changed = ContentChange.objects.filter(field="advertised_run")
    assert list(changed.values_list("content", "old", "new")) == [
        (row_of(ALLOWED, PRIV).pk, PRIVATE_RUN, PUBLIC_RUN)
    ]


@pytest.mark.on_every_engine
def test_a_course_that_goes_from_one_catalog_to_another_is_in_the_other(catalogs: Catalogs) -> None:
    catalogs.serve(ORDINARY, catalogs.records[ORDINARY][MOVE])
    catalogs.drop(ALLOWED, MOVE)
    for hours in (1, 3):
        catalogs.sync_both(hours=hours)
    check_views(catalogs)

    catalogs.serve(ALLOWED, catalogs.drop(ORDINARY, MOVE))
    for hours in (4, 6):
        catalogs.sync_both(hours=hours)

    check_views(catalogs)
    assert row_of(ALLOWED, MOVE).gone_at is None


def test_what_another_catalog_holds_is_asked_of_this_one_once(catalogs: Catalogs) -> None:
    record = catalogs.drop(ORDINARY, MOVE)
    for hours in (1, 3):
        catalogs.sync_both(hours=hours)
    with pytest.raises(reads.UnknownContent):
        reads.content_for(MOVE, catalog_uuid=ORDINARY, now=NOW + 4 * HOUR)

    catalogs.serve(ORDINARY, record)
    with pytest.raises(reads.UnknownContent):  # remembered
        reads.content_for(MOVE, catalog_uuid=ORDINARY, now=NOW + 4 * HOUR)
    found = reads.content_for(MOVE, catalog_uuid=ORDINARY, now=NOW + 5 * HOUR)

    assert found == row_of(ALLOWED, MOVE) == row_of(ORDINARY, MOVE)


def test_what_is_due_asks_a_holder_and_then_another(catalogs: Catalogs) -> None:
    third = UUID("33333333-3333-4333-8333-333333333333")
    catalogs.records[third] = {PRIV: catalogs.records[ALLOWED][PRIV]}
    catalogs.write()
    catalogs.sync(third)
    private = row_of(third, PRIV)
    catalogs.serve(ALLOWED, catalogs.records[ORDINARY][PRIV])
    catalogs.edit(PRIV, title="Edited", content_last_modified="2026-11-27T13:00:00Z")
    schedule.request_refresh([PRIV], now=NOW + 2 * HOUR)
    ContentMetadata.objects.filter(content_key=PRIV, variant="").update(due_at=NOW + DAY)

    refresh.refresh_due(clock=lambda: NOW + 2 * HOUR, source=catalogs.source, limit=100)

    assert row_of(ALLOWED, PRIV).variant == ""
    assert row_of(third, PRIV) == private
    private.refresh_from_db()
    assert (private.title, private.checked_at) == ("Edited", NOW + 2 * HOUR)
    assert private.due_at is not None
    assert private.due_at > NOW + 2 * HOUR


def test_an_event_makes_every_variant_due(catalogs: Catalogs) -> None:
    schedule.request_refresh([PUBLIC_RUN], now=NOW + HOUR)

    due = ContentMetadata.objects.filter(due_at=NOW + HOUR)
    assert {row.pk for row in due} == {row_of(ORDINARY, PRIV).pk, row_of(ALLOWED, PRIV).pk}


@pytest.mark.on_every_engine
def test_records_of_one_variant_and_one_stamp_that_differ_are_counted(catalogs: Catalogs) -> None:
    assert sum(CatalogListing.objects.values_list("contradictions", flat=True)) == 0
    catalogs.serve(ALLOWED, catalogs.records[ALLOWED][MOVE] | {"title": "Another"})

    catalogs.sync(ALLOWED, hours=1)

    assert (
        sum(CatalogListing.objects.values_list("contradictions", flat=True)) == 2
    )  # the run's title is its own


def test_a_record_that_cannot_be_used_is_the_matter_of_its_catalog_alone(catalogs: Catalogs) -> None:
    catalogs.serve(ALLOWED, catalogs.records[ALLOWED][PRIV] | {"content_type": "film"})

    catalogs.sync_both(hours=1)

    assert row_of(ALLOWED, PRIV).quarantined_digest != ""
    assert row_of(ORDINARY, PRIV).quarantined_digest == ""

    catalogs.serve(ORDINARY, catalogs.records[ALLOWED][PRIV])
    report = catalogs.sync(ORDINARY, hours=2)
    assert (report.unparsable_total, report.quarantined) == (1, 0)  # news of this catalog
    assert row_of(ORDINARY, PRIV).quarantined_digest != ""


@pytest.mark.on_every_engine
def test_a_budget_that_changes_its_catalog_takes_the_rows_of_the_new_one(catalogs: Catalogs) -> None:
    catalogs.serve(ALLOWED, without_run(catalogs.records[ALLOWED][PRIV], PUBLIC_RUN))
    catalogs.sync(ALLOWED)
    ours = assigned(ORDINARY)

    terms.change(ours.budget, now=NOW + HOUR, terms={"catalog_uuid": ALLOWED})

    ours.refresh_from_db()
    assert ours.content == row_of(ALLOWED, PRIV)
    assert ours.expires_at == PRIVATE_CLOSES


@pytest.mark.on_every_engine
def test_the_backfill_joins_to_the_row_of_the_budgets_catalog(catalogs: Catalogs) -> None:
    rows = {catalog: assigned(catalog).pk for catalog in (ORDINARY, ALLOWED)}
    LearnerContentAssignment.objects.update(content=None)

    done = backfill_runs.run(clock=lambda: NOW + HOUR, dry_run=False, on_progress=lambda _done: None)

    assert (done.attached, done.left_out_total) == (2, 0)
    for catalog, pk in rows.items():
        assert LearnerContentAssignment.objects.get(pk=pk).content == row_of(catalog, PRIV)


@pytest.mark.on_every_engine
def test_the_audit_names_what_a_catalog_has_and_we_lack_and_the_reverse(catalogs: Catalogs) -> None:
    def found(**options: Any) -> set[tuple[UUID, str, str]]:
        done = audit.audit(source=catalogs.source, clock=lambda: NOW + HOUR, **options)
        return {(one.catalog_uuid, one.content_key, one.finding.value) for one in done.found}

    assert found() == found(catalog_uuid=ALLOWED) == found(listed=[ORDINARY, ALLOWED]) == set()
    CatalogMembership.objects.filter(catalog_uuid=ALLOWED, content__content_key=MOVE).delete()
    CatalogMembership.objects.filter(catalog_uuid=ALLOWED, content__content_key=PRIVATE_RUN).delete()
    catalogs.drop(ORDINARY, ONLY)

    assert found() == {(ALLOWED, PRIVATE_RUN, "unknown"), (ORDINARY, ONLY, "missing")}
    assert found(catalog_uuid=ALLOWED) == {(ALLOWED, PRIVATE_RUN, "unknown")}
    assert (ALLOWED, MOVE, "unknown") in found(listed=[ORDINARY, ALLOWED])


def test_an_explanation_names_each_variant_and_its_catalogs(catalogs: Catalogs) -> None:
    report = explain.explain(PRIV, now=NOW)

    assert report
    assert [(one["price_cents"], one["catalogs"]) for one in report["variants"]] == [
        (5000, [ORDINARY]),
        (7500, [ALLOWED]),
    ]


def test_an_unattached_assignment_of_a_catalog_without_the_content_stays_so(catalogs: Catalogs) -> None:
    assignment = assigned(ORDINARY)
    Budget.objects.update(catalog_uuid=UUID(int=7))
    LearnerContentAssignment.objects.update(content=None, content_key=MOVE)

    backfill_runs.run(clock=lambda: NOW, dry_run=False, on_progress=lambda _done: None)

    assignment.refresh_from_db()
    assert assignment.content is None


@pytest.mark.on_every_engine
def test_a_course_that_comes_back_with_other_runs_takes_its_assignments_along(catalogs: Catalogs) -> None:
    theirs, private = assigned(ALLOWED), row_of(ALLOWED, PRIV)
    ordinary = catalogs.records[ORDINARY][PRIV]
    catalogs.drop(ALLOWED, PRIV)
    for hours in (1, 3):
        catalogs.sync(ALLOWED, hours=hours)
    private.refresh_from_db()
    assert private.gone_at == NOW + 3 * HOUR
    catalogs.serve(ALLOWED, ordinary)

    with announcements() as announced:
        catalogs.sync(ALLOWED, hours=4)

    public = row_of(ORDINARY, PRIV)
    assert [one["repointed"] for one in announced] == [[(ALLOWED, private.pk, public.pk)]]
    theirs.refresh_from_db()
    assert (theirs.content, theirs.expires_at) == (public, PUBLIC_CLOSES)
    moved = ContentChange.objects.filter(content=public, catalog_uuid=ALLOWED)
    assert dict(moved.values_list("field", "new"))["price_cents"] == 5000
    check_views(catalogs)


def test_a_run_that_is_added_at_the_instant_of_its_courses_first_listing_is_announced(
    catalogs: Catalogs,
) -> None:
    added = "course-v1:PrivX+1+NEW"
    for catalog in (ALLOWED, ORDINARY):
        course = catalogs.records[catalog][PRIV]
        public = next(run for run in course["course_runs"] if run["key"] == PUBLIC_RUN)
        course["course_runs"].append(public | {"key": added, "uuid": None})
        course["normalized_metadata_by_run"][added] = course["normalized_metadata_by_run"][PUBLIC_RUN]
    catalogs.write()
    catalogs.sync(ALLOWED)

    with announcements() as announced:
        catalogs.sync(ORDINARY)

    assert row_of(ORDINARY, added).pk in announced[0]["pks"]
