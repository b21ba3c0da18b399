"""A learner over HTTP: assignments, what can be redeemed, redeeming, acknowledging."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bursary.access.models import Role, User
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget, LedgerEntry
from bursary.replica.models import CatalogMembership, ContentMetadata, ContentType
from tests.world import (
    ALICE,
    BOB,
    PRICE,
    allocate,
    deliver,
    given_api_key,
    given_budget,
    given_content,
    given_run,
    given_user,
)

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]


class Person:
    """A user with an API key."""

    def __init__(self, client: Client, user: User) -> None:
        self._client, self._headers = client, {"Authorization": f"Bearer {given_api_key(user)}"}

    def get(self, address: str, **query: Any) -> Any:
        return self._client.get(f"/api/v1/{address}", query, headers=self._headers)

    def post(self, address: str, body: object) -> Any:
        return self._client.post(
            f"/api/v1/{address}", json.dumps(body), content_type="application/json", headers=self._headers
        )


@pytest.fixture
def budget() -> Budget:
    return given_budget()


@pytest.fixture
def alice(client: Client, budget: Budget) -> Person:
    return Person(client, given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7))


def credits(person: Person, budget: Budget, **more: Any) -> Any:
    address = "policy-redemption/credits_available/"
    return person.get(address, enterprise_customer_uuid=budget.customer.uuid, **more)


def can_redeem(person: Person, budget: Budget, *keys: str) -> list[dict[str, Any]]:
    address = f"policy-redemption/enterprise-customer/{budget.customer.uuid}/can-redeem/"
    rows: list[dict[str, Any]] = person.get(address, content_key=list(keys)).json()
    return rows


def redeem(person: Person, budget: Budget, content: ContentMetadata, **more: Any) -> Any:
    body = {"content_key": content.content_key, "metadata": {}} | more
    return person.post(f"policy-redemption/{budget.uuid}/redeem/", body)


def test_a_learner_lists_and_redeems_an_assignment(alice: Person, budget: Budget) -> None:
    content = given_content(links={"enrollment_url": "https://learn.example.org/enrol"})
    allocate(budget, content, ALICE, now=timezone.now())

    (policy,) = credits(alice, budget, lms_user_id=7).json()
    (assigned,) = policy["learner_content_assignments"]
    assert (policy["uuid"], policy["group_associations"]) == (str(budget.uuid), [])
    assert (assigned["state"], assigned["content_metadata"]["title"]) == ("allocated", "Tidal Engines")
    assert assigned["learner_acknowledged"] is None

    (verdict,) = can_redeem(alice, budget, content.content_key)
    assert (verdict["can_redeem"], verdict["has_successful_redemption"]) == (True, False)
    assert verdict["list_price"] == {"usd": PRICE / 100, "usd_cents": PRICE}
    url = verdict["redeemable_subsidy_access_policy"]["policy_redemption_url"]
    assert url == f"http://testserver/api/v1/policy-redemption/{budget.uuid}/redeem/"

    redeemed = redeem(alice, budget, content, lms_user_id=7)
    assert redeemed.status_code == 200
    body = redeemed.json()
    assert (body["state"], body["courseware_url"]) == ("committed", "https://learn.example.org/enrol")
    assert body["uuid"] == str(LedgerEntry.objects.get().uuid)
    status = alice.get(body["transaction_status_api_url"].partition("/api/v1/")[2]).json()
    assert status == body
    (verdict,) = can_redeem(alice, budget, content.content_key)
    assert (verdict["can_redeem"], verdict["has_successful_redemption"]) == (False, True)


def test_a_redemption_is_shown_to_its_learner_alone(client: Client, alice: Person, budget: Budget) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now())
    address = redeem(alice, budget, content).json()["transaction_status_api_url"].partition("/api/v1/")[2]
    assert alice.get(address).status_code == 200
    others = [
        given_user(Role.LEARNER, customer=budget.customer, email=BOB, lms_user_id=8),
        given_user(Role.ADMINISTRATOR, customer=budget.customer),
        given_user(Role.OPERATOR),
    ]
    for user in others:
        assert Person(client, user).get(address).status_code == 404


def test_redeeming_twice_spends_once(alice: Person, budget: Budget) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now())
    first, second = redeem(alice, budget, content), redeem(alice, budget, content)
    assert first.json() == second.json()
    assert LedgerEntry.objects.count() == 1


def test_an_assigned_course_is_redeemed_by_its_run(alice: Person, budget: Budget) -> None:
    course = given_content("RiversideX+TIDE")
    run = given_content(
        "course-v1:RiversideX+TIDE+2026", content_type=ContentType.COURSERUN, parent=course, catalog=None
    )
    allocate(budget, course, ALICE, now=timezone.now())
    (verdict,) = can_redeem(alice, budget, run.content_key)
    assert verdict["can_redeem"] is True
    assert redeem(alice, budget, run).json()["state"] == "committed"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.CANCELLED, "reason_learner_assignment_cancelled"),
        (State.EXPIRED, "reason_learner_assignment_expired"),
        (State.REVERSED, "reason_learner_assignment_reversed"),
    ],
)
def test_a_refused_redemption_gives_the_reason(
    alice: Person, budget: Budget, state: State, reason: str
) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now())
    LearnerContentAssignment.objects.update(state=state)
    (verdict,) = can_redeem(alice, budget, content.content_key)
    assert verdict["can_redeem"] is False
    assert verdict["display_reason"]["reason"] == reason
    assert verdict["display_reason"]["user_message"]
    answer = redeem(alice, budget, content)
    assert (answer.status_code, answer.json()[0]["reason"]) == (422, reason)
    assert not LedgerEntry.objects.exists()


def test_what_can_no_longer_be_joined_is_refused_with_its_dates(alice: Person, budget: Budget) -> None:
    now = timezone.now()
    content = given_content()
    over = given_run(content, f"course-v1:{content.content_key}+OLD", end_date=now - timedelta(days=700))
    allocate(budget, content, ALICE, now=now)
    ContentMetadata.objects.filter(content_key=f"course-v1:{content.content_key}+R1").update(offered=False)

    by_run, by_course = can_redeem(alice, budget, over.content_key, content.content_key)
    for verdict in (by_run, by_course):
        assert (verdict["can_redeem"], verdict["redeemable_subsidy_access_policy"]) == (False, None)
        assert verdict["reasons"] == [verdict["display_reason"]]
        assert verdict["display_reason"].pop("user_message").startswith("It ended on ")
        assert verdict["display_reason"] == {
            "reason": "content_ended",
            "next_step": "Ask your organisation to assign another course to you.",
            "metadata": {"enterprise_administrators": []},
            "content_run_key": over.content_key,
            "end_date": (now - timedelta(days=700)).isoformat(),
        }
    answer = redeem(alice, budget, content)
    assert (answer.status_code, answer.json()[0]["reason"]) == (422, "content_ended")
    assert not LedgerEntry.objects.exists()


def test_what_left_the_budgets_catalog_cannot_be_redeemed(alice: Person, budget: Budget) -> None:
    content, kept = given_content(), given_content()
    for one in (content, kept):
        allocate(budget, one, ALICE, now=timezone.now())
    CatalogMembership.objects.filter(content=content).delete()

    left, held = can_redeem(alice, budget, content.content_key, kept.content_key)

    assert left["can_redeem"] is False
    assert left["display_reason"] == {
        "reason": "content_not_in_catalog",
        "user_message": "This is no longer in your organisation's catalog.",
        "next_step": "Ask your organisation to assign another course to you.",
        "content_key": content.content_key,
        "metadata": {"enterprise_administrators": []},
    }
    assert held["can_redeem"] is True
    answer = redeem(alice, budget, content)
    assert (answer.status_code, answer.json()[0]["reason"]) == (422, "content_not_in_catalog")


def test_asking_what_can_be_redeemed_takes_as_many_queries_for_ten_as_for_one(
    alice: Person, budget: Budget
) -> None:
    contents = [given_content() for _ in range(10)]
    for one in contents:
        allocate(budget, one, ALICE, now=timezone.now())
    counts = []
    for some in (contents[:1], contents):
        with CaptureQueriesContext(connection) as queries:
            verdicts = can_redeem(alice, budget, *(one.content_key for one in some))
        assert all(verdict["can_redeem"] for verdict in verdicts)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_content_that_is_not_assigned_cannot_be_redeemed(alice: Person, budget: Budget) -> None:
    content = given_content()
    allocate(budget, content, BOB, now=timezone.now())
    (verdict,) = can_redeem(alice, budget, content.content_key)
    assert verdict["display_reason"]["reason"] == "reason_learner_not_assigned_content"
    assert redeem(alice, budget, content).status_code == 422


def test_an_administrator_may_ask_for_another_learner_and_a_learner_may_not(
    client: Client, alice: Person, budget: Budget
) -> None:
    given_user(email=BOB, lms_user_id=8)
    content = given_content()
    allocate(budget, content, BOB, now=timezone.now())
    deliver(now=timezone.now())
    assert credits(alice, budget, lms_user_id=8).status_code == 403
    assert redeem(alice, budget, content, lms_user_id=8).status_code == 403
    ada = Person(client, given_user(Role.ADMINISTRATOR, customer=budget.customer))
    (policy,) = credits(ada, budget, lms_user_id=8).json()
    assert len(policy["learner_content_assignments"]) == 1
    assert redeem(ada, budget, content, lms_user_id=8).status_code == 403
    olga = Person(client, given_user(Role.OPERATOR))
    assert redeem(olga, budget, content, lms_user_id=8).json()["state"] == "committed"


def test_a_redemption_is_readable_by_its_learner_alone(client: Client, alice: Person, budget: Budget) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now())
    address = redeem(alice, budget, content).json()["transaction_status_api_url"].partition("/api/v1/")[2]
    others = [
        given_user(Role.LEARNER, customer=budget.customer, email=BOB, lms_user_id=8),
        given_user(Role.LEARNER, customer=budget.customer, email="", lms_user_id=None),
        given_user(Role.ADMINISTRATOR, customer=budget.customer),
        given_user(Role.OPERATOR),
        given_user(),
    ]
    for other in others:
        assert Person(client, other).get(address).status_code == 404
    assert client.get(f"/api/v1/{address}").status_code == 401
    assert alice.get(address).json()["state"] == "committed"


def test_a_passed_deadline_shows_before_the_scheduled_task_runs(alice: Person, budget: Budget) -> None:
    content = given_content()
    allocate(budget, content, ALICE, now=timezone.now() - timedelta(days=91))
    (policy,) = credits(alice, budget).json()
    (assigned,) = policy["learner_content_assignments"]
    assert (assigned["state"], assigned["learner_acknowledged"]) == ("expired", False)


def test_an_acknowledged_assignment_is_not_listed_again(alice: Person, budget: Budget) -> None:
    content, other = given_content(), given_content()
    now = timezone.now()
    allocate(budget, content, ALICE, now=now)
    allocate(budget, other, ALICE, now=now)
    ended = LearnerContentAssignment.objects.get(content=content)
    stays = LearnerContentAssignment.objects.get(content=other)
    cancel(budget, uuids=[ended.uuid], now=now)
    address = f"assignment-configurations/{budget.assignment_configuration_uuid}/acknowledge-assignments/"
    named = {"assignment_uuids": [str(ended.uuid), str(stays.uuid)]}

    first, again = alice.post(address, named), alice.post(address, named)

    assert (first.status_code, again.status_code) == (201, 200)
    assert [row["uuid"] for row in first.json()["acknowledged_assignments"]] == [str(ended.uuid)]
    assert [row["uuid"] for row in first.json()["unacknowledged_assignments"]] == [str(stays.uuid)]
    assert [row["uuid"] for row in again.json()["already_acknowledged_assignments"]] == [str(ended.uuid)]
    (policy,) = credits(alice, budget).json()
    assert [row["uuid"] for row in policy["learner_content_assignments"]] == [str(stays.uuid)]
    facts = ended.actions.filter(action_type=ActionType.CANCELLED_ACKNOWLEDGED)
    assert facts.count() == 1


def test_another_learners_assignments_cannot_be_acknowledged(alice: Person, budget: Budget) -> None:
    allocate(budget, given_content(), BOB, now=timezone.now())
    bobs = LearnerContentAssignment.objects.get()
    cancel(budget, uuids=[bobs.uuid], now=timezone.now())
    address = f"assignment-configurations/{budget.assignment_configuration_uuid}/acknowledge-assignments/"
    assert alice.post(address, {"assignment_uuids": [str(bobs.uuid)]}).status_code == 400
    assert not bobs.actions.filter(action_type=ActionType.CANCELLED_ACKNOWLEDGED).exists()


def test_credits_take_the_same_queries_for_one_two_and_ten(alice: Person, budget: Budget) -> None:
    counts, made = [], 0
    for count in (1, 2, 10):
        for _number in range(count - made):
            allocate(budget, given_content(), ALICE, now=timezone.now())
        made = count
        with CaptureQueriesContext(connection) as queries:
            answer = credits(alice, budget)
        assert len(answer.json()[0]["learner_content_assignments"]) == count
        counts.append(len(queries))
    assert len(set(counts)) == 1
    assert counts[0] <= 8


def test_strangers_and_unknown_organisations_are_refused(client: Client, budget: Budget) -> None:
    stranger = Person(client, given_user())
    assert credits(stranger, budget).status_code == 404
    unknown = "00000000-0000-4000-8000-000000000000"
    answer = stranger.get("policy-redemption/credits_available/", enterprise_customer_uuid=unknown)
    assert answer.status_code == 404
    assert stranger.get("policy-redemption/credits_available/").status_code == 400
