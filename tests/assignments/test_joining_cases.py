"""The recorded courses that can, and cannot, be joined: previewed, allocated and redeemed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django import Settings

from bursary.assignments import allocation, derived_audit, redemption
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ExpiryReason, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.redemption import RedemptionRefused
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.replica import refresh
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata, RefreshTrigger
from bursary.replica.refresh import ContentUnavailable
from tests.assignments.joinable import CASES, DAY, NOW
from tests.replica.listing import Listing, Record
from tests.world import ALICE, CATALOG, given_budget

pytestmark = pytest.mark.django_db

AGE = NOW + 90 * DAY


def records() -> list[Record]:
    return [json.loads(line) for line in CASES.read_text().splitlines()]


def serve(*served: Record, now: datetime = NOW) -> None:
    """Refresh the catalog, which serves these records."""
    refresh.refresh_catalog(CATALOG, source=Listing(served), now=now, trigger=RefreshTrigger.CRON)


@pytest.fixture(autouse=True)
def _served() -> None:
    serve(*records())


@pytest.fixture
def budget() -> Budget:
    return given_budget()


def allocate(budget: Budget, key: str, cents: int, *, now: datetime = NOW) -> LearnerContentAssignment:
    allocation.allocate(budget, content_key=key, price_cents=cents, entries=[ALICE], now=now)
    return LearnerContentAssignment.objects.get(content_key=key)


REFUSED = [
    ("EndX+1", 10_000, "content_ended", {"end_date": datetime(2024, 6, 1, tzinfo=UTC)}),
    ("UnpX+1", 8_000, "content_not_active", {}),
    (
        "EarlyX+1",
        8_000,
        "enrollment_not_open_in_time",
        {
            "enroll_start": datetime(2028, 1, 15, tzinfo=UTC),
            "enroll_by": datetime(2028, 5, 1, tzinfo=UTC),
            "end_date": datetime(2028, 9, 1, tzinfo=UTC),
            "deadline": AGE,
        },
    ),
]


@pytest.mark.parametrize("of_run", [False, True], ids=["course", "run"])
@pytest.mark.parametrize(("course", "cents", "reason", "dates"), REFUSED)
def test_what_cannot_be_joined_is_refused_with_the_dates_that_decide(
    budget: Budget, course: str, cents: int, reason: str, dates: dict[str, object], of_run: bool
) -> None:
    run = f"course-v1:{course}+R1"
    key = run if of_run else course
    with pytest.raises(AllocationRefused) as refused:
        allocate(budget, key, cents)
    assert (refused.value.reason, refused.value.details) == (reason, {"content_run_key": run, **dates})

    seen = allocation.preview(budget, content_key=key, price_cents=cents, entries=[ALICE], now=NOW)
    assert (seen.refusals, seen.terms) == ([refused.value], None)
    budget.refresh_from_db()
    assert (budget.reserved_cents, LearnerContentAssignment.objects.count()) == (0, 0)


ALLOCATED = [
    ("SoonX+1", "course-v1:SoonX+1+R1", 7_000, AGE, ExpiryReason.ALLOCATION_AGE),
    ("RevX+1", "course-v1:RevX+1+R1", 6_200, AGE, ExpiryReason.ALLOCATION_AGE),
    ("LateX+1", "course-v1:LateX+1+R1", 5_500, datetime(2027, 1, 10, tzinfo=UTC), ExpiryReason.ENROLL_BY),
    ("OtherX+1", "course-v1:OtherX+1+NEW", 3_500, AGE, ExpiryReason.ALLOCATION_AGE),
]


@pytest.mark.parametrize("key", ["RevX+1", "course-v1:RevX+1+R1"])
def test_what_opens_after_the_deadline_is_not_redeemed(budget: Budget, key: str) -> None:
    stored = allocate(budget, "RevX+1", 6_200)
    ContentMetadata.objects.filter(content_key="course-v1:RevX+1+R1").update(enroll_start=stored.expires_at)

    with pytest.raises(RedemptionRefused) as refused:
        redemption.begin(stored, now=NOW, content_key=key)

    assert (refused.value.reason, refused.value.details["deadline"]) == ("enrollment_not_open_in_time", AGE)


@pytest.mark.parametrize("of_run", [False, True], ids=["course", "run"])
@pytest.mark.parametrize(("course", "run", "cents", "deadline", "reason"), ALLOCATED)
def test_what_can_be_joined_is_allocated_on_its_terms(
    budget: Budget, course: str, run: str, cents: int, deadline: datetime, reason: str, of_run: bool
) -> None:
    key = run if of_run else course
    seen = allocation.preview(budget, content_key=key, price_cents=cents, entries=[ALICE], now=NOW)
    assert (seen.refusals, seen.deadline, seen.deadline_reason) == ([], deadline, reason)
    assert seen.terms is not None
    assert (seen.terms.run_key, seen.terms.price_cents) == (run, cents)

    stored = allocate(budget, key, cents)

    assert (stored.expires_at, stored.expires_reason, stored.price_cents) == (deadline, reason, cents)
    assert derived_audit.audit(clock=lambda: NOW).wrong == 0


def test_a_course_is_joined_until_the_run_closes_that_gives_its_price() -> None:
    budget = given_budget(allocation_age_days=400)
    with pytest.raises(AllocationRefused) as refused:
        allocate(budget, "OtherX+1", 3_000)  # what the advertised run costs, which is over
    assert refused.value.reason == "price_out_of_band"
    assert refused.value.details["catalog_price_cents"] == 3_500

    stored = allocate(budget, "OtherX+1", 3_500)

    assert (stored.expires_at, stored.expires_reason) == (
        datetime(2027, 3, 1, tzinfo=UTC),
        ExpiryReason.ENROLL_BY,
    )


def test_a_run_that_opens_too_late_counts_once_the_budget_allows_it(budget: Budget) -> None:
    other = next(one for one in records() if one["key"] == "OtherX+1")
    other["normalized_metadata_by_run"]["course-v1:OtherX+1+OLD"] = {
        "enroll_start_date": "2027-06-01T00:00:00Z",
        "enroll_by_date": "2027-09-01T00:00:00Z",
        "content_price": 30.0,
    }
    other["content_last_modified"] = "2026-11-21T00:00:00Z"
    serve(other)
    stored = allocate(budget, "OtherX+1", 3_500)
    assert stored.content_enroll_by == datetime(2027, 3, 1, tzinfo=UTC)

    terms.change(budget, now=NOW, terms={"allocation_age_days": 400})

    stored.refresh_from_db()
    assert stored.content_enroll_by == stored.expires_at == datetime(2027, 9, 1, tzinfo=UTC)
    assert derived_audit.audit(clock=lambda: NOW).wrong == 0


def redeem(stored: LearnerContentAssignment, *, key: str = "", now: datetime = NOW + DAY) -> str:
    """Return the reason for which it is refused, empty where it is begun."""
    try:
        redemption.begin(stored, content_key=key, now=now)
    except RedemptionRefused as refused:
        return refused.reason if refused.sentence and refused.next_step else "says too little"
    return ""


def test_a_run_over_since_2024_is_not_redeemed_through_its_course(budget: Budget) -> None:
    stored = allocate(budget, "OtherX+1", 3_500)

    assert redeem(stored, key="course-v1:OtherX+1+OLD") == "content_ended"

    stored.refresh_from_db()
    assert (stored.state, stored.redeeming_since) == (State.ALLOCATED, None)
    assert redeem(stored, key="course-v1:OtherX+1+NEW") == ""


def test_a_run_of_another_course_or_catalog_is_not_redeemed(budget: Budget) -> None:
    stored = allocate(budget, "OtherX+1", 3_500)
    run = ContentMetadata.objects.get(content_key="course-v1:OtherX+1+NEW")
    CatalogMembership.objects.filter(content=run).delete()

    assert redeem(stored, key="course-v1:RevX+1+R1") == "content_not_in_catalog"
    assert redeem(stored, key="course-v1:OtherX+1+NEW") == "content_not_in_catalog"
    assert redeem(stored) == "content_ended"


def test_what_left_the_catalog_is_not_redeemed(budget: Budget) -> None:
    stored = allocate(budget, "RevX+1", 6_200)
    CatalogMembership.objects.all().delete()

    assert redeem(stored) == "content_not_in_catalog"


def unpublish(key: str) -> None:
    record = next(one for one in records() if one["key"] == key)
    for run in record["course_runs"]:
        run |= {"status": "unpublished", "is_marketable": False, "is_marketable_external": False}
    record["content_last_modified"] = "2026-11-27T12:00:00Z"
    serve(record, now=NOW + timedelta(hours=1))


@pytest.mark.parametrize("of_run", [False, True], ids=["course", "run"])
def test_what_was_unpublished_after_the_allocation_is_not_redeemed(budget: Budget, of_run: bool) -> None:
    stored = allocate(budget, "course-v1:RevX+1+R1" if of_run else "RevX+1", 6_200)
    unpublish("RevX+1")

    assert redeem(stored) == "content_not_active"
    budget.refresh_from_db()
    assert (budget.spent_cents, budget.reserved_cents) == (0, 6_200)


def test_a_redemption_in_flight_is_finished_whatever_became_of_the_content(budget: Budget) -> None:
    stored = allocate(budget, "RevX+1", 6_200)
    begun = redemption.begin(stored, now=NOW)
    unpublish("RevX+1")

    stored.refresh_from_db()
    assert redemption.begin(stored, now=NOW + DAY) == begun
    redemption.fulfil(begun, now=NOW + DAY)
    stored.refresh_from_db()
    assert stored.state == State.ACCEPTED
    assert redemption.begin(stored, now=NOW + DAY).pk == begun.pk


def test_redeeming_a_course_spends_the_price_that_was_allocated(budget: Budget) -> None:
    stored = allocate(budget, "OtherX+1", 3_600)  # within five percent
    action = redemption.begin(stored, content_key="course-v1:OtherX+1+NEW", now=NOW + DAY)
    with transaction.atomic():
        redemption.fulfil(action, now=NOW + DAY)
    budget.refresh_from_db()
    assert (budget.spent_cents, budget.reserved_cents) == (3_600, 0)


def test_assignments_of_a_course_follow_its_runs(budget: Budget) -> None:
    stored = allocate(budget, "LateX+1", 5_500)
    late = next(one for one in records() if one["key"] == "LateX+1")
    late["normalized_metadata_by_run"]["course-v1:LateX+1+R1"]["end_date"] = "2027-02-01T00:00:00Z"
    late["content_last_modified"] = "2026-11-21T00:00:00Z"
    serve(late)

    stored.refresh_from_db()
    assert stored.expires_at == stored.content_enroll_by == datetime(2027, 2, 1, tzinfo=UTC)
    assert derived_audit.audit(clock=lambda: NOW).wrong == 0


def thin(served: Record) -> Record:
    """Return the record as upstream serves it until it has the whole course."""
    return {name: value for name, value in served.items() if not name.startswith("normalized_metadata")}


@pytest.fixture
def catalog_file(tmp_path: Path, settings: Settings) -> Path:
    """Return the configured catalog's file, without any record."""
    settings.CATALOG_URL = (file := tmp_path / "catalog.jsonl").as_uri()
    file.touch()
    return file


@pytest.mark.parametrize("joined", ["thin", "unknown"])
@pytest.mark.parametrize(
    ("edit", "reason"), [({}, ""), ({"is_marketable_external": False}, "content_not_active")]
)
def test_what_is_not_known_of_a_course_is_asked_for_before_it_is_redeemed(
    budget: Budget, catalog_file: Path, joined: str, edit: Record, reason: str
) -> None:
    stored = allocate(budget, "RevX+1", 6_200)
    served = next(one for one in records() if one["key"] == "RevX+1")
    served["course_runs"][0] |= edit
    catalog_file.write_text(json.dumps(served))
    forget(stored, joined=joined)

    assert redemption.joining_refusals([(stored, "RevX+1")], now=NOW) == {}  # a page asks nothing
    refused = redemption.joining_refusals([(stored, "RevX+1")], now=NOW, ask=True)
    assert [one.reason for one in refused.values()] == ([reason] if reason else [])
    assert redeem(stored) == reason


@pytest.mark.parametrize("joined", ["thin", "unknown"])
def test_a_course_of_which_nothing_can_be_found_out_is_not_redeemed(
    budget: Budget, catalog_file: Path, joined: str
) -> None:
    stored = allocate(budget, "RevX+1", 6_200)
    served = next(one for one in records() if one["key"] == "RevX+1")
    catalog_file.write_text(json.dumps(thin(served)))
    forget(stored, joined=joined)

    refused = redemption.joining_refusals([(stored, "RevX+1")], now=NOW, ask=True)
    assert list(refused.values()) == [
        RedemptionRefused(
            "catalog_unavailable", "The catalog does not answer at present.", "Try again in a minute."
        )
    ]
    with pytest.raises(ContentUnavailable):
        redemption.begin(stored, now=NOW)
    budget.refresh_from_db()
    assert (budget.spent_cents, budget.reserved_cents) == (0, 6_200)


def test_what_the_catalog_does_not_have_is_not_redeemed_from_before_the_replica(
    budget: Budget, catalog_file: Path
) -> None:
    stored = allocate(budget, "RevX+1", 6_200)
    forget(stored, joined="unknown")

    assert redeem(stored) == "content_not_in_catalog"


def forget(assignment: LearnerContentAssignment, *, joined: str) -> None:
    """Leave a thin row of its course, or none: as of assignments from before the replica."""
    CatalogMembership.objects.exclude(via_course="").delete()
    rows = ContentMetadata.objects.filter(content_key=assignment.content_key)
    rows.update(completeness=Completeness.THIN)
    if joined == "unknown":
        LearnerContentAssignment.objects.update(content=None)
        CatalogMembership.objects.filter(content__in=rows).delete()
        rows.delete()
    assignment.refresh_from_db()
