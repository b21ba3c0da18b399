"""Budgets over HTTP: what clients call subsidy access policies."""

from datetime import timedelta
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import Role
from bursary.budgets.models import Account, Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, door_of, refusal_of
from tests.world import ALICE, BOB, CATALOG, NOW, PRICE, allocate, given_budget, given_customer

pytestmark = pytest.mark.django_db


def uuids(answer: Answer) -> list[str]:
    assert answer.status_code == 200
    return [row["uuid"] for row in answer.json()["results"]]


def test_a_policy_has_all_that_clients_read(door: Door, budget: Budget) -> None:
    Budget.objects.update(starts_at=NOW, ends_at=NOW + timedelta(days=10), description="For all")
    body = door.policy(budget.uuid).json()
    assert body.pop("aggregates")
    assert body == {
        "uuid": str(budget.uuid),
        "policy_type": "AssignedLearnerCreditAccessPolicy",
        "display_name": "Skills",
        "description": "For all",
        "active": True,
        "retired": False,
        "retired_at": None,
        "enterprise_customer_uuid": str(budget.customer.uuid),
        "catalog_uuid": str(CATALOG),
        "subsidy_uuid": str(budget.account.uuid),
        "spend_limit": 10 * PRICE,
        "unlimited": False,
        "subsidy_active_datetime": "2026-03-02T09:00:00Z",
        "subsidy_expiration_datetime": "2026-03-12T09:00:00Z",
        "is_subsidy_active": True,
        "not_in_use": None,
        "is_late_redemption_allowed": False,
        "bnr_enabled": False,
        "group_associations": [],
        "assignment_configuration": {
            "uuid": str(budget.assignment_configuration_uuid),
            "enterprise_customer_uuid": str(budget.customer.uuid),
            "active": True,
        },
    }


def test_a_policys_figures_are_in_cents_and_in_dollars(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    allocate(budget, content, ALICE, BOB)
    Budget.objects.update(spent_cents=50)
    assert door.policy(budget.uuid).json()["aggregates"] == {
        "amount_allocated_cents": 2 * PRICE,
        "amount_redeemed_cents": 50,
        "spend_available_cents": 8 * PRICE - 50,
        "amount_allocated_usd": 398.0,
        "amount_redeemed_usd": 0.5,
        "spend_available_usd": 1591.5,
    }


def test_a_budget_without_a_window_is_not_taken_for_one_that_is_over(door: Door, budget: Budget) -> None:
    """Clients read null as 1970."""
    body = door.policy(budget.uuid).json()
    assert body["subsidy_active_datetime"] == "2026-03-02T09:00:00Z"  # when it was made
    assert body["subsidy_expiration_datetime"] == "9000-01-01T00:00:00Z"
    assert body["is_subsidy_active"] is True


def test_the_list_has_what_the_single_policy_has(door: Door, budget: Budget) -> None:
    assert door.policies().json()["results"] == [door.policy(budget.uuid).json()]


def test_an_unlimited_budget_has_large_numbers_for_its_limit_and_for_what_is_left(
    door: Door, budget: Budget
) -> None:
    """Clients read null as nothing, and assign nothing."""
    Budget.objects.update(limit_cents=None)
    body = door.policy(budget.uuid).json()
    assert (body["unlimited"], body["spend_limit"]) == (True, 100_000_000_000)
    assert body["aggregates"]["spend_available_cents"] == 100_000_000_000
    assert body["aggregates"]["spend_available_usd"] == 1_000_000_000.0
    assert body["aggregates"]["amount_allocated_usd"] == 0


def test_a_budget_without_a_limit_of_its_own_has_its_accounts(door: Door, budget: Budget) -> None:
    Budget.objects.update(limit_cents=None, reserved_cents=PRICE)
    Account.objects.update(limit_cents=3 * PRICE, reserved_cents=PRICE)
    body = door.policy(budget.uuid).json()
    assert (body["unlimited"], body["spend_limit"]) == (False, 3 * PRICE)
    assert body["aggregates"]["spend_available_cents"] == 2 * PRICE


def test_what_is_left_is_the_least_of_the_budgets_and_the_accounts(door: Door, budget: Budget) -> None:
    Account.objects.update(limit_cents=PRICE)
    assert door.policy(budget.uuid).json()["aggregates"]["spend_available_cents"] == PRICE


def test_a_limit_below_what_is_reserved_leaves_nothing_rather_than_less(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    allocate(budget, content, ALICE, BOB)
    Budget.objects.update(limit_cents=PRICE)
    assert door.policy(budget.uuid).json()["aggregates"]["spend_available_cents"] == 0


@pytest.mark.parametrize(
    ("terms", "active", "retired", "subsidy_active"),
    [
        ({"active": False}, False, False, True),
        ({"retired_at": NOW}, False, True, True),
        ({"ends_at": NOW}, True, False, False),
        ({"starts_at": NOW + timedelta(days=1)}, True, False, False),
    ],
    ids=["inactive", "retired", "over", "not begun"],
)
def test_a_policy_says_whether_it_is_in_use(
    door: Door,
    budget: Budget,
    terms: dict[str, object],
    active: bool,
    retired: bool,
    subsidy_active: bool,
) -> None:
    Budget.objects.update(**terms)
    body = door.policy(budget.uuid).json()
    assert body["assignment_configuration"]["active"] is active
    assert body["retired"] is retired
    assert body["is_subsidy_active"] is subsidy_active


@pytest.mark.on_every_engine
def test_each_role_sees_its_budgets(budget: Budget) -> None:
    other = given_budget(name="Another")
    both = sorted([str(budget.uuid), str(other.uuid)])
    assert uuids(door_of(Role.ADMINISTRATOR, customer=budget.customer).policies()) == [str(budget.uuid)]
    assert sorted(uuids(door_of(Role.OPERATOR).policies())) == both
    assert uuids(door_of(Role.LEARNER, customer=budget.customer).policies()) == []
    assert uuids(door_of(None).policies()) == []


def test_policies_are_filtered_by_organisation(budget: Budget) -> None:
    given_budget()
    operator = door_of(Role.OPERATOR)
    mine = operator.policies(enterprise_customer_uuid=budget.customer.uuid, active="true")
    assert uuids(mine) == [str(budget.uuid)]
    assert uuids(operator.policies(enterprise_customer_uuid=uuid4())) == []


def test_policies_are_filtered_by_whether_they_are_active(door: Door, budget: Budget) -> None:
    idle = given_budget(customer=budget.customer, active=False)
    assert uuids(door.policies(active="true")) == [str(budget.uuid)]
    assert uuids(door.policies(active="false")) == [str(idle.uuid)]
    assert len(uuids(door.policies())) == 2


@pytest.mark.parametrize("value", ["x", "1", "\0", "9" * 5000], ids=lambda value: value[:3])
def test_an_organisation_that_is_no_uuid_is_refused(door: Door, value: str) -> None:
    answer = door.policies(enterprise_customer_uuid=value)
    assert refusal_of(answer) == (400, "invalid_request")
    assert "enterprise_customer_uuid" in answer.json()


@pytest.mark.on_every_engine
def test_policies_come_by_name_and_those_of_one_name_in_one_order(door: Door, budget: Budget) -> None:
    names = ["Zeal", "Art", "Skills"]
    made = [given_budget(customer=budget.customer, name=name) for name in names]
    expected = [made[1], budget, made[2], made[0]]
    assert uuids(door.policies()) == [str(one.uuid) for one in expected]


def test_an_unknown_budget_and_anothers_are_404(door: Door) -> None:
    assert refusal_of(door.policy(uuid4())) == (404, "not_found")
    assert refusal_of(door.policy(given_budget().uuid)) == (404, "not_found")


@pytest.mark.parametrize("count", [1, 20])
def test_the_list_takes_three_queries_however_many_policies_there_are(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """The key with its user, the count, the budgets with their customers and accounts."""
    customer = given_customer()
    for _number in range(count):
        given_budget(customer=customer)
    door = door_of(Role.ADMINISTRATOR, customer=customer)
    with django_assert_num_queries(3):
        answer = door.policies()
    assert len(uuids(answer)) == count
