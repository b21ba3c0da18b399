"""What an allocation refuses: prices, content and budgets, each with a reason, a sentence and a next step."""

from datetime import timedelta
from typing import Any

import pytest

from bursary.assignments import allocation
from bursary.assignments.allocation import AllocationRefused
from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import LearnerContentAssignment
from tests.world import (
    ALICE,
    NOW,
    PRICE,
    allocate,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("percent", [95, 100, 105])
def test_a_price_within_five_percent_of_the_catalogs_is_taken(percent: int) -> None:
    allocate(given_budget(), given_content(price_cents=10_000), ALICE, price_cents=100 * percent)
    assert LearnerContentAssignment.objects.get().price_cents == 100 * percent


@pytest.mark.parametrize("price_cents", [9_499, 10_501, 0])
def test_a_price_outside_the_band_is_refused(price_cents: int) -> None:
    with pytest.raises(AllocationRefused) as refused:
        allocate(given_budget(), given_content(price_cents=10_000), ALICE, price_cents=price_cents)
    assert refused.value.reason == "price_out_of_band"
    assert refused.value.details == {"requested_price_cents": price_cents, "catalog_price_cents": 10_000}


def test_free_content_costs_nothing() -> None:
    allocate(given_budget(seats=0), given_content(price_cents=0), ALICE, price_cents=0)
    assert LearnerContentAssignment.objects.get().price_cents == 0


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"price_cents": None}, "content_price_unknown"),
        ({"catalog": None}, "content_not_in_catalog"),
        ({"gone_at": NOW}, "content_not_in_catalog"),
        ({"enroll_by": NOW}, "enrollment_not_open_in_time"),
        ({"enroll_start": NOW + timedelta(days=90)}, "enrollment_not_open_in_time"),
        ({"end_date": NOW, "enroll_by": NOW + timedelta(days=1)}, "content_ended"),
        ({"with_run": False}, "content_not_active"),
    ],
    ids=["price unknown", "not in the catalog", "gone", "enrolment closed", "opens late", "over", "no run"],
)
@pytest.mark.usefixtures("empty_catalog")
def test_content_that_cannot_be_accepted_is_refused(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(AllocationRefused) as refused:
        allocate(given_budget(), given_content(**columns), ALICE)
    assert refused.value.reason == reason
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"active": False}, "policy_expired"),
        ({"retired_at": NOW}, "policy_expired"),
        ({"starts_at": NOW + timedelta(days=1)}, "subsidy_expired"),
        ({"ends_at": NOW}, "subsidy_expired"),
    ],
    ids=["inactive", "retired", "not open yet", "over"],
)
def test_a_budget_out_of_use_is_refused(columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(AllocationRefused) as refused:
        allocate(given_budget(**columns), given_content(), ALICE)
    assert refused.value.reason == reason


ANOTHER_BUDGET = "Choose another budget."
JOINABLE_CONTENT = "Choose content with a run that learners can join in time."

REFUSALS = [
    pytest.param(
        {"limit_cents": 100},
        {"key": "RiversideX+T1"},
        AllocationRefused(
            "policy_spend_limit_reached",
            "This costs $199.00; $1.00 is available.",
            "Assign to fewer learners, or have the budget raised.",
            {"requested_cents": PRICE, "available_cents": 100},
        ),
        id="too expensive",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "price_cents": None},
        AllocationRefused(
            "content_price_unknown",
            "The catalog has no price for this, so the price cannot be checked.",
            "Try again when the catalog has a price, or choose a run that has one.",
            {},
        ),
        id="price unknown",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "price_cents": 10_000},
        AllocationRefused(
            "price_out_of_band",
            "The price of $199.00 is too far from the catalog's, $100.00.",
            "Enter a price between 95 and 105 percent of the catalog's.",
            {"requested_price_cents": PRICE, "catalog_price_cents": 10_000},
        ),
        id="price out of band",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "catalog": None},
        AllocationRefused(
            "content_not_in_catalog",
            "This content is not in the budget's catalog.",
            "Choose content from the budget's catalog.",
            {"content_key": "RiversideX+T1"},
        ),
        id="not in the catalog",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "gone_at": NOW},
        AllocationRefused(
            "content_not_in_catalog",
            "This content is not in the budget's catalog.",
            "Choose content from the budget's catalog.",
            {"content_key": "RiversideX+T1"},
        ),
        id="gone",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "enroll_by": NOW},
        AllocationRefused(
            "enrollment_not_open_in_time",
            "Enrolment closed on Monday, 2 March 2026, 10:00 (Madrid time).",
            JOINABLE_CONTENT,
            {
                "content_run_key": "course-v1:RiversideX+T1+R1",
                "enroll_start": None,
                "enroll_by": NOW,
                "end_date": None,
                "deadline": NOW + timedelta(days=90),
            },
        ),
        id="enrolment closed",
    ),
    pytest.param(
        {"ends_at": NOW + timedelta(days=20)},
        {"key": "RiversideX+T1", "enroll_start": NOW + timedelta(days=20)},
        AllocationRefused(
            "enrollment_not_open_in_time",
            "Enrolment opens on Sunday, 22 March 2026, 10:00 (Madrid time), "
            "and the assignment ends on Sunday, 22 March 2026, 10:00 (Madrid time).",
            JOINABLE_CONTENT,
            {
                "content_run_key": "course-v1:RiversideX+T1+R1",
                "enroll_start": NOW + timedelta(days=20),
                "enroll_by": None,
                "end_date": None,
                "deadline": NOW + timedelta(days=20),
            },
        ),
        id="enrolment opens too late",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "end_date": NOW - timedelta(days=400)},
        AllocationRefused(
            "content_ended",
            "It ended on Sunday, 26 January 2025, 10:00 (Madrid time).",
            JOINABLE_CONTENT,
            {"content_run_key": "course-v1:RiversideX+T1+R1", "end_date": NOW - timedelta(days=400)},
        ),
        id="over",
    ),
    pytest.param(
        {},
        {"key": "RiversideX+T1", "with_run": False},
        AllocationRefused(
            "content_not_active", "The catalog does not offer this for enrolment.", JOINABLE_CONTENT, {}
        ),
        id="no run",
    ),
    pytest.param(
        {"active": False},
        {"key": "RiversideX+T1"},
        AllocationRefused("policy_expired", "This budget is switched off or retired.", ANOTHER_BUDGET, {}),
        id="budget out of use",
    ),
    pytest.param(
        {"starts_at": NOW - timedelta(days=9), "ends_at": NOW},
        {"key": "RiversideX+T1"},
        AllocationRefused(
            "subsidy_expired",
            "This budget is not open today.",
            "Choose another budget, or have this one's dates changed.",
            {"starts_at": NOW - timedelta(days=9), "ends_at": NOW},
        ),
        id="budget over",
    ),
]


@pytest.mark.usefixtures("empty_catalog")
@pytest.mark.parametrize(("budget_columns", "content_columns", "expected"), REFUSALS)
def test_a_refusal_gives_a_reason_a_sentence_a_next_step_and_figures(
    budget_columns: dict[str, Any], content_columns: dict[str, Any], expected: AllocationRefused
) -> None:
    """The preview names the same refusal that the allocation raises."""
    budget, content = given_budget(**budget_columns), given_content(**content_columns)
    with pytest.raises(AllocationRefused) as refused:
        allocate(budget, content, ALICE)
    assert refused.value == expected
    assert str(refused.value) == expected.sentence
    seen = allocation.preview(
        budget, content_key=content.content_key, price_cents=PRICE, entries=[ALICE], now=NOW
    )
    assert seen.refusals == [expected]


def test_a_due_date_that_has_passed_is_refused_with_it() -> None:
    with pytest.raises(AllocationRefused) as refused:
        allocate(given_budget(), given_content(), ALICE, due_date=NOW)
    assert refused.value == AllocationRefused(
        "deadline_passed",
        "The due date Monday, 2 March 2026, 10:00 (Madrid time) has passed.",
        "Choose a later due date.",
        {"deadline": NOW, "deadline_reason": ExpiryReason.DUE_DATE},
    )


def test_content_that_upstream_does_not_know_is_refused() -> None:
    with pytest.raises(AllocationRefused) as refused:
        allocation.allocate(
            given_budget(), content_key="not a key", price_cents=PRICE, entries=[ALICE], now=NOW
        )
    assert (refused.value.reason, refused.value.details) == (
        "content_not_in_catalog",
        {"content_key": "not a key"},
    )
