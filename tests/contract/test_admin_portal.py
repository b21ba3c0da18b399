"""Each request of the administrators' client, as it sends it, and each field that it reads unguarded."""

from uuid import UUID, uuid4

import pytest

from tests.contract.client import Read, WebClient, of_policy
from tests.contract.conftest import World
from tests.world import ALICE, BOB, PRICE

pytestmark = pytest.mark.django_db

ASSIGNED = {"page": 1, "page_size": 25, "state__in": "allocated,errored"}
"""What every request of the table "Assigned" has."""
FROM_JAVASCRIPT = 19_900.000000000004  # 199 * 100, or nearly


def of_assignments(world: World, ending: str = "") -> str:
    return f"{world.configuration}/admin/assignments/{ending}"


def ok(answer: Read, status: int = 200) -> Read:
    assert answer.status == status, answer
    return answer


# -- Budgets ------------------------------------------------------------------------------------------------


def test_the_list_of_budgets_has_the_figures_of_each(world: World, admin: WebClient) -> None:
    asked = {"enterprise_customer_uuid": world.customer_uuid, "active": "true"}
    [policy] = ok(admin.get("subsidy-access-policies/", asked)).body["results"]

    assert policy["uuid"] == str(world.budget.uuid)
    assert policy["policyType"] == "AssignedLearnerCreditAccessPolicy"
    assert policy["assignmentConfiguration"]["uuid"] == str(world.budget.assignment_configuration_uuid)
    assert (policy["displayName"], policy["retired"], policy["retiredAt"]) == ("Skills", False, None)
    assert policy["bnrEnabled"] is False
    assert policy["subsidyActiveDatetime"] < policy["subsidyExpirationDatetime"]
    assert {name: policy["aggregates"][name] for name in policy["aggregates"] if name.endswith("Usd")} == {
        "amountAllocatedUsd": 398.0,
        "amountRedeemedUsd": 199.0,
        "spendAvailableUsd": 1393.0,
    }


def test_a_budget_has_its_limit_its_subsidy_and_an_array_of_groups(world: World, admin: WebClient) -> None:
    policy = ok(admin.get(of_policy(world.budget.uuid))).body

    assert policy["spendLimit"] == 10 * PRICE
    assert policy["subsidyUuid"] == str(world.budget.account.uuid)
    assert policy["catalogUuid"] == str(world.budget.catalog_uuid)
    assert (policy["isSubsidyActive"], policy["isLateRedemptionAllowed"]) == (True, False)
    assert policy["groupAssociations"] == []


def test_an_unknown_budget_is_404_which_the_client_has_a_page_for(admin: WebClient, world: World) -> None:
    assert admin.get(of_policy(uuid4())).status == 404


# -- Assigning ----------------------------------------------------------------------------------------------


def allocate(world: World, admin: WebClient, *addresses: str, **changes: object) -> Read:
    body = {
        "content_key": world.course.advertised_run,
        "content_price_cents": FROM_JAVASCRIPT,
        "learner_emails": list(addresses),
        "admin_lms_user_id": world.administrator.lms_user_id,
    }
    return admin.post(f"policy-allocation/{world.budget.uuid}/allocate/", body | changes)


def test_allocating_a_run_answers_202_with_three_arrays(world: World, admin: WebClient) -> None:
    done = ok(allocate(world, admin, ALICE, "new@learners.example"), 202).body

    assert [len(done[name]) for name in ("created", "updated", "noChange")] == [1, 0, 1]


@pytest.mark.parametrize(
    ("addresses", "changes", "reason"),
    [
        ((BOB,), {"content_key": "RiversideX+none"}, "content_not_in_catalog"),
        ([f"{number}@learners.example" for number in range(8)], {}, "policy_spend_limit_reached"),
        ((BOB, "ünï@learners.example"), {}, "invalid_addresses"),
        (("an\u200ena@learners.example",), {}, "invalid_addresses"),
        (("'bob@learners.example",), {}, "invalid_addresses"),
    ],
)
@pytest.mark.usefixtures("empty_catalog")
def test_what_the_client_accepts_and_a_rule_refuses_is_422_with_an_array_and_a_reason(
    world: World, admin: WebClient, addresses: list[str], changes: dict[str, object], reason: str
) -> None:
    refused = ok(allocate(world, admin, *addresses, **changes), 422).body

    assert refused[0]["reason"] == reason
    assert refused[0]["userMessage"]


# -- The table "Assigned" -----------------------------------------------------------------------------------


def test_the_table_has_its_pages_its_counts_and_every_field_of_a_row(world: World, admin: WebClient) -> None:
    asked = {**ASSIGNED, "ordering": "-recent_action_time"}
    listed = ok(admin.get(of_assignments(world), asked)).body

    assert (listed["count"], listed["numPages"], listed["currentPage"]) == (2, 1, 1)
    assert listed["learnerStateCounts"] == [{"learnerState": "waiting", "count": 2}]
    for row in listed["results"]:
        assert UUID(row["uuid"])
        assert row["learnerEmail"].endswith("@learners.example")
        assert (row["contentTitle"], row["contentKey"]) == ("Tides", world.course.content_key)
        assert (row["parentContentKey"], row["isAssignedCourseRun"]) == (None, False)
        assert (row["contentQuantity"], row["state"], row["learnerState"]) == (-PRICE, "allocated", "waiting")
        assert row["errorReason"] is None
        assert row["recentAction"] == {"actionType": "assigned", "timestamp": "2026-03-01T09:00:00Z"}
        assert row["earliestPossibleExpiration"] == {
            "date": "2026-05-30T09:00:00Z",
            "reason": "NINETY_DAYS_PASSED",
        }


@pytest.mark.parametrize(
    ("used", "count"),
    [
        ({"search": "tides alice"}, 1),
        ({"learner_state__in": "notifying,waiting,failed", "ordering": "content_quantity"}, 2),
        ({"learner_state__in": "failed", "ordering": "learner_state_sort_order"}, 0),
    ],
)
def test_the_table_is_filtered_and_sorted(
    world: World, admin: WebClient, used: dict[str, object], count: int
) -> None:
    assert ok(admin.get(of_assignments(world), ASSIGNED | used)).body["count"] == count


@pytest.mark.parametrize("verb", ["remind", "cancel"])
def test_named_rows_are_reminded_and_cancelled(world: World, admin: WebClient, verb: str) -> None:
    listed = admin.get(of_assignments(world), ASSIGNED).body["results"]

    ok(admin.post(of_assignments(world, f"{verb}/"), {"assignment_uuids": [row["uuid"] for row in listed]}))


@pytest.mark.parametrize("verb", ["remind-all", "cancel-all"])
@pytest.mark.parametrize("query", ["", "?learner_state__in=waiting&search=alice"])
def test_all_rows_are_reminded_and_cancelled_without_a_body(
    world: World, admin: WebClient, verb: str, query: str
) -> None:
    ok(admin.post(of_assignments(world, f"{verb}/{query}")), 202)


# -- The table "Spent" --------------------------------------------------------------------------------------


def spent(world: World, admin: WebClient, **more: object) -> Read:
    asked = {
        "state": "committed",
        "page": 1,
        "page_size": 20,
        "subsidy_access_policy_uuid": world.budget.uuid,
    }
    return admin.get(f"/api/v2/subsidies/{world.budget.account.uuid}/admin/transactions/", asked | more)


def test_the_table_of_spending_has_every_field_of_a_row(world: World, admin: WebClient) -> None:
    listed = ok(spent(world, admin, ordering="-enrollment_date")).body

    assert (listed["count"], listed["numPages"], listed["next"]) == (2, 1, None)
    refunded, accepted = listed["results"]
    assert accepted == {
        "uuid": str(world.accepted.transaction_uuid),
        "state": "committed",
        "created": "2026-02-28T09:00:00Z",
        "modified": "2026-02-28T09:00:00Z",
        "subsidyAccessPolicyUuid": str(world.budget.uuid),
        "fulfillmentIdentifier": str(world.accepted.uuid),
        "reversal": None,
        "lmsUserId": 7,
        "lmsUserEmail": ALICE,
        "contentKey": "RiversideX+Anchors",
        "parentContentKey": "RiversideX+Anchors",
        "contentTitle": "Anchors",
        "courseRunStartDate": None,
        "unit": "usd_cents",
        "quantity": -PRICE,
    }
    assert (refunded["lmsUserEmail"], refunded["quantity"]) == (BOB, -PRICE)
    assert refunded["reversal"]["created"] == "2026-03-02T09:00:00Z"
    assert refunded["reversal"]["quantity"] == PRICE


@pytest.mark.parametrize(
    ("used", "titles"),
    [
        ({"ordering": "enrollment_date"}, ["Anchors", "Boats"]),
        ({"ordering": "-course_title"}, ["Boats", "Anchors"]),
        ({"ordering": "user_email"}, ["Anchors", "Boats"]),
        ({"ordering": "-course_list_price"}, ["Boats", "Anchors"]),
        ({"search": "anchors"}, ["Anchors"]),
        ({"search": "BOB@"}, ["Boats"]),
        ({"subsidy_access_policy_uuid": "0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a"}, []),
        ({"page_size": 1, "course_product_line": "OCM"}, ["Boats"]),
    ],
)
@pytest.mark.on_every_engine
def test_the_table_of_spending_is_filtered_sorted_and_paged(
    world: World, admin: WebClient, used: dict[str, object], titles: list[str]
) -> None:
    rows = ok(spent(world, admin, **used)).body["results"]

    assert [row["contentTitle"] for row in rows] == titles


# -- One learner --------------------------------------------------------------------------------------------


def test_a_learners_profile_is_empty_and_their_assignments_are_at_their_own_address(
    world: World, admin: WebClient
) -> None:
    customer = {"enterprise_customer_uuid": world.customer_uuid}
    asked = {"user_email": ALICE, "lms_user_id": "7", **customer}
    profile = ok(admin.get("admin-view/learner_profile/", asked)).body
    assert profile == {
        "subscriptions": [],
        "groupMemberships": [],
        "enrollments": {"inProgress": [], "upcoming": [], "completed": [], "savedForLater": []},
    }

    credits = admin.get("policy-redemption/credits_available/", {**customer, "lms_user_id": "7"})
    [policy] = ok(credits).body
    assert (policy["uuid"], policy["displayName"], policy["active"]) == (
        str(world.budget.uuid),
        "Skills",
        True,
    )
    assert [row["state"] for row in policy["learnerContentAssignments"]] == [
        "allocated",
        "accepted",
        "cancelled",
    ]


# -- On every page ------------------------------------------------------------------------------------------


def test_learners_may_ask_for_nothing_so_that_the_client_makes_no_configuration(
    world: World, admin: WebClient
) -> None:
    expected = {
        "enterpriseCustomerUuid": world.customer_uuid,
        "subsidyRequestsEnabled": False,
        "subsidyType": None,
        "changedByLmsUserId": None,
    }
    assert ok(admin.get(f"customer-configurations/{world.customer_uuid}/")).body == expected

    sent = {
        "enterprise_customer_uuid": world.customer_uuid,
        "subsidy_requests_enabled": False,
        "subsidy_type": "license",
    }
    assert ok(admin.post("customer-configurations/", sent)).body == expected
    assert admin.post("customer-configurations/", sent | {"subsidy_requests_enabled": True}).status == 400


@pytest.mark.parametrize("kind", ["license", "coupon-code", "learner-credit"])
def test_the_counts_of_requests_are_a_bare_array(world: World, admin: WebClient, kind: str) -> None:
    asked = {"enterprise_customer_uuid": world.customer_uuid}
    assert ok(admin.get(f"{kind}-requests/overview/", asked)).body == []
    listed = ok(
        admin.get(f"{kind}-requests/", {**asked, "page": "1", "page_size": "20", "state": "requested"})
    )
    assert (listed.body["results"], listed.body["count"]) == ([], 0)
