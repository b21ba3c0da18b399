"""A course of which no run can be joined for a while: nothing expires by a date that had passed before."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from bursary.assignments import derived_audit, expiry, offers
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.lib.moments import FAR_FUTURE
from bursary.replica import refresh
from bursary.replica.models import ContentMetadata, RefreshTrigger
from bursary.replica.types import CatalogKey
from tests.assignments.joinable import CASES, DAY, HOUR, NOW
from tests.replica.listing import Listing
from tests.world import ALICE, CATALOG, allocate, given_budget

pytestmark = pytest.mark.django_db

COURSE = "OtherX+1"
NEW_CLOSES = datetime(2027, 3, 1, tzinfo=UTC)
Dates = Mapping[str, object]

CLOSED_IN_2024: Dates = {"enroll_by_date": "2024-05-01T00:00:00Z"}
OVER: Dates = {"end_date": "2026-11-01T00:00:00Z"}
CLOSES_SOON: Dates = {"content_price": 35.0, "end_date": None, "enroll_by_date": "2026-12-10T00:00:00Z"}


def serve(*, now: datetime, hidden: str = "", without: str = "", **dates: Any) -> None:
    """Refresh the catalog. `hidden` and `without` are runs; `dates` those of the runs `OLD` and `NEW`."""
    [record] = [one for one in map(json.loads, CASES.read_text().splitlines()) if one["key"] == COURSE]
    for name, changes in dates.items():
        record["normalized_metadata_by_run"][f"course-v1:{COURSE}+{name}"] |= changes
    runs = {run["key"].rpartition("+")[2]: run for run in record["course_runs"]}
    for name in hidden.split():
        runs[name] |= {"status": "unpublished", "is_marketable": False}
    record["course_runs"] = [run for name, run in runs.items() if name not in without.split()]
    record["content_last_modified"] = now.isoformat()
    refresh.refresh_catalog(CATALOG, source=Listing([record]), now=now, trigger=RefreshTrigger.CRON)


@pytest.fixture(params=[{}, CLOSED_IN_2024], ids=["no end of enrolment", "enrolment closed in 2024"])
def old(request: pytest.FixtureRequest) -> Dates:
    """Return the dates of the advertised run, which is over."""
    dates: Dates = request.param
    return dates


def allocated(*, now: datetime = NOW, **dates: Any) -> LearnerContentAssignment:
    """Return an assignment of the course with these dates, that no other date ends before 2028."""
    serve(now=now, **dates)
    content = ContentMetadata.objects.get(content_key=COURSE)
    allocate(given_budget(allocation_age_days=400), content, ALICE, now=now, price_cents=3_500)
    return LearnerContentAssignment.objects.get()


def stored(one: LearnerContentAssignment, *, now: datetime) -> LearnerContentAssignment:
    """Return it as it is stored, and as the rule in Python has it."""
    assert derived_audit.audit(clock=lambda: now).differences == []
    one.refresh_from_db()
    return one


def test_the_only_open_run_unpublished_for_a_while_expires_nothing(old: Dates) -> None:
    one = allocated(OLD=old)
    assert one.expires_at == NEW_CLOSES

    serve(now=NOW + HOUR, hidden="NEW", OLD=old)

    assert (stored(one, now=NOW + HOUR).expires_at, one.grace_until) == (NEW_CLOSES, None)
    # That it cannot be joined, not that it expires.
    assert AdministratorNotice.objects.get().no_expiry_before is None
    assert expiry.expire_due(now=NOW + 9 * DAY).done == 0
    serve(now=NOW + 9 * DAY, OLD=old)
    assert stored(one, now=NOW + 9 * DAY).expires_at == NEW_CLOSES
    assert not AdministratorNotice.objects.exists()  # it was not sent yet


def test_a_run_that_closed_after_the_allocation_expires_nothing_either() -> None:
    one = allocated(OLD=CLOSES_SOON)
    later = datetime(2026, 12, 15, tzinfo=UTC)

    serve(now=later, hidden="NEW", OLD=CLOSES_SOON)

    assert stored(one, now=later).expires_at == NEW_CLOSES
    assert expiry.expire_due(now=later + 9 * DAY).done == 0


def test_while_a_run_can_be_joined_those_that_are_not_offered_bound_nothing() -> None:
    one = allocated(OLD=CLOSES_SOON)
    serve(now=NOW + HOUR, hidden="NEW", OLD=CLOSES_SOON)
    closes = datetime(2026, 12, 10, tzinfo=UTC)
    assert stored(one, now=NOW + HOUR).expires_at == closes

    # A change between the deadline and the sweep does not open it again.
    serve(now=closes, hidden="NEW", OLD=CLOSES_SOON, NEW={"end_date": "2028-10-01T00:00:00Z"})

    assert stored(one, now=closes).expires_at == closes
    assert stored(one, now=closes + DAY).content_enroll_by == closes
    assert expiry.expire_due(now=closes).done == 1


def test_a_course_of_which_every_run_is_over_expires_a_day_later(old: Dates) -> None:
    one = allocated(OLD=old)

    serve(now=NOW + HOUR, hidden="NEW", OLD=old, NEW=OVER)

    assert stored(one, now=NOW + HOUR).expires_at == datetime(2026, 11, 1, tzinfo=UTC)
    assert (one.expires_reason, one.grace_until) == (ExpiryReason.ENROLL_BY, NOW + HOUR + DAY)
    assert expiry.expire_due(now=NOW + DAY).done == 0


@pytest.mark.parametrize("hidden", ["", "NEW"])
def test_a_run_without_dates_is_never_over(hidden: str) -> None:
    undated: Dates = {"enroll_by_date": None, "end_date": None}
    one = allocated(OLD=CLOSED_IN_2024)

    serve(now=NOW + HOUR, hidden=hidden, OLD=CLOSED_IN_2024, NEW=undated)

    assert stored(one, now=NOW + HOUR).content_enroll_by == FAR_FUTURE
    assert one.expires_reason == ExpiryReason.ALLOCATION_AGE


def test_a_record_without_any_run_does_not_end_what_was_assigned(old: Dates) -> None:
    one = allocated(OLD=old)

    serve(now=NOW + HOUR, without="OLD NEW", OLD=old)

    assert ContentMetadata.objects.get(content_key=COURSE).end_date == datetime(2024, 6, 1, tzinfo=UTC)
    assert stored(one, now=NOW + HOUR).content_enroll_by == FAR_FUTURE
    assert expiry.expire_due(now=NOW + 9 * DAY).done == 0


def test_the_date_of_an_offer_is_that_of_its_assignment() -> None:
    """The rule in Python, for content that is not assigned yet, and in SQL."""
    one = allocated(OLD=CLOSES_SOON)
    for hidden in ("", "NEW", "OLD", "OLD NEW"):
        serve(now=NOW + HOUR, hidden=hidden, OLD=CLOSES_SOON)
        [offer] = offers.by_key([CatalogKey(CATALOG, COURSE)]).values()
        assert stored(one, now=NOW + HOUR).content_enroll_by == offer.join_by(
            now=NOW + HOUR, must_open_before=one.age_ends_at
        )
