"""What was spent from an account, as the ledger has it and the assignments explain it."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bursary.assignments import redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Account, Budget, LedgerEntry
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, refusal_of
from tests.world import (
    ALICE,
    BOB,
    NOW,
    PRICE,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db


def transactions(door: Door, budget: Budget, **query: object) -> Answer:
    return door.client.get(f"/api/v2/subsidies/{budget.account.uuid}/admin/transactions/", query)


def rows(door: Door, budget: Budget, **query: object) -> list[dict[str, Any]]:
    answer = transactions(door, budget, **query)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def spend(budget: Budget, content: ContentMetadata, *learners: str, run: str = "") -> None:
    """Allocate and accept."""
    allocate(budget, content, *learners)
    for assignment in LearnerContentAssignment.objects.filter(budget=budget, state="allocated"):
        redemption.begin(assignment, now=NOW, content_key=run or assignment.content_key)
    deliver()


@pytest.mark.on_every_engine
def test_the_budgets_of_an_account_are_listed_together_and_those_of_others_are_not(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    beside = given_budget(customer=budget.customer, account=budget.account)
    another = given_budget(customer=budget.customer)
    for number, one in enumerate((budget, beside, another)):
        spend(one, content, *addresses(1, start=number))

    assert [row["lms_user_email"] for row in rows(door, budget)] == [*reversed(addresses(2))]
    [row] = rows(door, budget, subsidy_access_policy_uuid=beside.uuid)
    assert (row["subsidy_access_policy_uuid"], row["quantity"]) == (str(beside.uuid), -PRICE)


def test_a_redeemed_run_is_named_with_its_course(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    run = content.advertised_run
    spend(budget, content, ALICE, run=run)

    [row] = rows(door, budget)
    assert (row["content_key"], row["parent_content_key"]) == (run, content.content_key)
    assert rows(door, budget, content_key=content.content_key) == [row]


@pytest.mark.on_every_engine
def test_a_refund_stays_listed_with_its_learner_after_the_assignment_is_allocated_again(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    spend(budget, content, ALICE)
    refunded = LedgerEntry.objects.get()
    redemption.reverse(refunded.uuid, now=NOW)
    spend(budget, content, ALICE)

    later, earlier = rows(door, budget)
    assert [row["lms_user_email"] for row in (later, earlier)] == [ALICE, ALICE]
    assert (later["reversal"], earlier["uuid"]) == (None, str(refunded.uuid))
    assert earlier["reversal"] == {
        "uuid": str(refunded.uuid),
        "state": "committed",
        "created": "2026-03-02T09:00:00Z",
        "quantity": PRICE,
    }
    assert rows(door, budget, search="alice") == [later]


def test_each_acceptance_is_listed_with_what_was_redeemed_then(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    run = content.advertised_run
    spend(budget, content, ALICE, run=run)
    redemption.reverse(LedgerEntry.objects.get().uuid, now=NOW)
    spend(budget, content, ALICE)

    assert [row["content_key"] for row in rows(door, budget)] == [content.content_key, run]


def test_an_entry_that_something_else_wrote_has_no_learner(door: Door, budget: Budget) -> None:
    LedgerEntry.objects.create(budget=budget, idempotency_key="by hand", cents=500, created_at=NOW)

    [row] = rows(door, budget, ordering="content_title")
    assert (row["quantity"], row["lms_user_email"], row["content_title"]) == (-500, None, None)
    assert (row["fulfillment_identifier"], row["content_key"], row["lms_user_id"]) == (None, None, None)


@pytest.mark.on_every_engine
def test_an_entry_that_names_another_budgets_assignment_shows_nothing_of_it(
    door: Door, budget: Budget
) -> None:
    foreign = given_assignment(given_budget())
    LedgerEntry.objects.create(budget=budget, idempotency_key=f"{foreign.uuid}:1", cents=1, created_at=NOW)

    assert [row["lms_user_email"] for row in rows(door, budget)] == [None]


def test_the_id_of_another_organisations_learner_is_not_shown(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    spend(budget, content, BOB)
    LearnerContentAssignment.objects.update(lms_user_id=9)
    budget.customer.learner_links.all().delete()

    assert [row["lms_user_id"] for row in rows(door, budget)] == [None]
    assert rows(door, budget, lms_user_id=9) == []


@pytest.mark.parametrize("state", ["created", "pending", "failed"])
def test_every_entry_is_committed(door: Door, budget: Budget, content: ContentMetadata, state: str) -> None:
    spend(budget, content, ALICE)

    assert len(rows(door, budget, state="committed")) == 1
    assert rows(door, budget, state=state) == []
    assert len(rows(door, budget, state=["committed", state])) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "spent"),
        ("ordering", "learner_state"),
        ("search", "x" * 300),
        ("lms_user_id", "1e999"),
        ("subsidy_access_policy_uuid", "1"),
    ],
)
def test_an_unusable_parameter_is_refused(door: Door, budget: Budget, name: str, value: str) -> None:
    answer = transactions(door, budget, **{name: value})
    assert refusal_of(answer) == (400, "invalid_request")
    assert name in answer.json()


def test_a_page_beyond_the_last_is_404(door: Door, budget: Budget) -> None:
    assert transactions(door, budget, page=2).status_code == 404


def test_many_entries_take_the_same_queries_as_one(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    counts = []
    Account.objects.update(limit_cents=None)
    Budget.objects.update(limit_cents=None)
    for learners in (addresses(1), addresses(8, start=1)):
        spend(budget, content, *learners)
        spend(budget, given_content(), *learners)
        with CaptureQueriesContext(connection) as queries:
            rows(door, budget, search="learner", ordering="-course_title")
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_what_else_there_is_below_v2_is_404_in_json(door: Door) -> None:
    assert refusal_of(door.client.get("/api/v2/subsidies/")) == (404, "not_found")
