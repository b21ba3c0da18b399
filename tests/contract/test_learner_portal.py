"""Each request of the learners' client, as it sends it, and each field that it reads unguarded."""

from typing import Any

import pytest
from pytest_django import Settings

from tests.contract.client import Read, WebClient
from tests.contract.conftest import World
from tests.world import ALICE, PRICE

pytestmark = pytest.mark.django_db

PAGES = ("dashboard", "search", "academy", "skills-quiz")


def ok(answer: Read, status: int = 200) -> Any:
    assert answer.status == status, answer
    return answer.body


# -- Pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_the_organisation_and_every_object_that_is_read(
    world: World, learner: WebClient, name: str
) -> None:
    customer = world.budget.customer
    page = ok(learner.post(f"bffs/learner/{name}/", {"enterprise_customer_slug": customer.slug}))

    shown = page["enterpriseCustomer"]
    assert (shown["uuid"], shown["slug"], shown["name"]) == (
        world.customer_uuid,
        customer.slug,
        customer.name,
    )
    assert shown["brandingConfiguration"].keys() == {
        "logo",
        "primaryColor",
        "secondaryColor",
        "tertiaryColor",
    }
    assert (shown["active"], shown["enableLearnerPortal"], shown["disableSearch"]) == (True, True, False)
    assert shown["adminUsers"] == [{"email": "ada@larkspur.example", "lmsUserId": None}]
    assert shown["activeIntegrations"] == []
    assert page["activeEnterpriseCustomer"] == shown
    [linked] = page["allLinkedEnterpriseCustomerUsers"]
    assert (linked["enterpriseCustomer"], linked["active"], linked["userId"]) == (shown, True, 7)
    assert page["staffEnterpriseCustomer"] is None
    assert page["shouldUpdateActiveEnterpriseCustomerUser"] is False
    subscriptions = page["enterpriseCustomerUserSubsidies"]["subscriptions"]
    assert subscriptions["customerAgreement"] is None
    assert subscriptions["subscriptionLicenses"] == []
    assert subscriptions["subscriptionLicensesByStatus"] == {
        "activated": [],
        "assigned": [],
        "expired": [],
        "revoked": [],
    }
    assert page["hasBnrEnabledPolicy"] is False
    assert page["algolia"] == {"securedAlgoliaApiKey": None, "validUntil": None}
    assert page["catalogUuidsToCatalogQueryUuids"] == {}
    assert (page["errors"], page["warnings"]) == ([], [])


def test_the_first_page_has_no_enrolments_in_both_forms(world: World, learner: WebClient) -> None:
    asked = {"enterprise_customer_slug": world.budget.customer.slug}
    page = ok(learner.post("bffs/learner/dashboard/", asked))

    assert page["enterpriseCourseEnrollments"] == []
    assert page["allEnrollmentsByStatus"] == {
        "inProgress": [],
        "upcoming": [],
        "completed": [],
        "savedForLater": [],
    }


@pytest.mark.parametrize("kind", ["learner-credit", "license", "coupon-code"])
def test_a_learners_requests_are_an_empty_last_page(world: World, learner: WebClient, kind: str) -> None:
    asked = {
        "enterprise_customer_uuid": world.customer_uuid,
        "user__email": ALICE,
        "state": "requested",
    }
    listed = ok(learner.get(f"{kind}-requests/", asked))

    assert (listed["results"], listed["next"]) == ([], None)


def test_the_configuration_says_that_learners_may_ask_for_nothing(world: World, learner: WebClient) -> None:
    configuration = ok(learner.get(f"customer-configurations/{world.customer_uuid}/"))

    assert (configuration["subsidyRequestsEnabled"], configuration["subsidyType"]) == (False, None)


# -- Assignments --------------------------------------------------------------------------------------------


def credits(world: World, learner: WebClient) -> Any:
    asked = {"enterprise_customer_uuid": world.customer_uuid, "lms_user_id": "7"}
    [policy] = ok(learner.get("policy-redemption/credits_available/", asked))
    return policy


def test_a_learners_assignments_come_in_a_bare_array_of_budgets(world: World, learner: WebClient) -> None:
    policy = credits(world, learner)

    assert (policy["uuid"], policy["policyType"]) == (
        str(world.budget.uuid),
        "AssignedLearnerCreditAccessPolicy",
    )
    assert (policy["active"], policy["catalogUuid"]) == (True, str(world.budget.catalog_uuid))
    assert policy["subsidyExpirationDate"] == "9000-01-01T00:00:00+00:00"
    assert policy["isLateRedemptionAllowed"] is False
    assert (policy["groupAssociations"], policy["learnerRequests"]) == ([], [])
    rows = policy["learnerContentAssignments"]
    assert [row["state"] for row in rows] == ["allocated", "accepted", "cancelled"]
    for row in rows:
        assert row["uuid"]
        assert row["assignmentConfiguration"] == str(world.budget.assignment_configuration_uuid)
        assert row["earliestPossibleExpiration"].keys() == {"date", "reason"}
        assert row["contentMetadata"]["partners"] == [{"name": "Riverside School"}]
        assert {"startDate", "endDate", "courseType"} <= row["contentMetadata"].keys()
        assert (row["parentContentKey"], row["isAssignedCourseRun"]) == (None, False)
    assert rows[0]["contentTitle"] == "Tides"
    assert not rows[2]["learnerAcknowledged"]


def test_an_acknowledged_assignment_is_gone_and_acknowledging_it_twice_is_harmless(
    world: World, learner: WebClient
) -> None:
    address = f"{world.configuration}/acknowledge-assignments/"
    body: dict[str, object] = {"assignment_uuids": [str(world.cancelled.uuid)]}

    done = ok(learner.post(address, body), 201)
    assert [len(done[name]) for name in done] == [1, 0, 0]
    ok(learner.post(address, body), 200)
    states = [row["state"] for row in credits(world, learner)["learnerContentAssignments"]]
    assert states == ["allocated", "accepted"]


# -- The course page ----------------------------------------------------------------------------------------


def can_redeem(world: World, learner: WebClient, *keys: str) -> Any:
    address = f"policy-redemption/enterprise-customer/{world.customer_uuid}/can-redeem/"
    return ok(learner.get(address, [("content_key", key) for key in keys]))


def test_runs_that_can_be_redeemed_and_others_come_in_a_bare_array(world: World, learner: WebClient) -> None:
    run = world.course.advertised_run
    allowed, refused = can_redeem(world, learner, run, "course-v1:RiversideX+None+R1")

    assert (allowed["contentKey"], allowed["canRedeem"], allowed["hasSuccessfulRedemption"]) == (
        run,
        True,
        False,
    )
    assert allowed["listPrice"]["usd"] == PRICE / 100
    policy = allowed["redeemableSubsidyAccessPolicy"]
    assert policy["policyRedemptionUrl"].startswith("http://testserver/api/v1/policy-redemption/")
    assert (policy["perLearnerEnrollmentLimit"], policy["perLearnerSpendLimit"]) == (None, None)
    assert allowed["displayReason"] is None
    assert (refused["canRedeem"], refused["redeemableSubsidyAccessPolicy"]) == (False, None)
    assert refused["displayReason"]["reason"] == "reason_learner_not_assigned_content"
    assert refused["displayReason"]["userMessage"]
    assert refused["displayReason"]["metadata"]["enterpriseAdministrators"] == []


def test_the_learner_may_not_ask_for_a_course_and_reads_why(world: World, learner: WebClient) -> None:
    address = f"policy-redemption/enterprise-customer/{world.customer_uuid}/can-request/"
    answer = ok(learner.get(address, {"content_key": world.course.content_key}))

    assert answer == {
        "contentKey": world.course.content_key,
        "canRequest": False,
        "reason": "Courses are assigned by your organisation. Ask an administrator.",
        "requestableSubsidyAccessPolicy": None,
    }


def test_redeeming_leads_into_the_run_and_its_status_is_polled(
    world: World, learner: WebClient, settings: Settings
) -> None:
    settings.COURSEWARE_URL = "https://learning.example.org/course/{run}/home"
    run = world.course.advertised_run
    [allowed] = can_redeem(world, learner, run)
    body: dict[str, object] = {"lms_user_id": 7, "content_key": run, "metadata": {}}

    done = ok(learner.post(allowed["redeemableSubsidyAccessPolicy"]["policyRedemptionUrl"], body))

    assert (done["state"], done["lmsUserId"], done["contentKey"]) == ("committed", 7, run)
    assert done["subsidyAccessPolicyUuid"] == str(world.budget.uuid)
    assert done["coursewareUrl"] == f"https://learning.example.org/course/{run}/home"
    assert ok(learner.get(done["transactionStatusApiUrl"])) == done
    [again] = can_redeem(world, learner, run)
    assert (again["canRedeem"], again["hasSuccessfulRedemption"]) == (False, True)
