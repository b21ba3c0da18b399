"""Over HTTP: the run by which a course was redeemed is kept, and answered from then on."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role, User
from bursary.assignments import redemption
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget, LedgerEntry
from bursary.delivery import runner
from bursary.replica.models import CatalogMembership, Completeness, ContentMetadata
from tests.api.door import Door, door_of
from tests.world import (
    ALICE,
    CATALOG,
    allocate,
    given_api_key,
    given_budget,
    given_content,
    given_run,
    given_user,
)

pytestmark = pytest.mark.django_db

COURSE, SPRING, AUTUMN = "RiversideX+TIDE", "course-v1:TIDE+spring", "course-v1:TIDE+autumn"


def url(key: str) -> str:
    return f"https://learn.example.org/{key}"


@pytest.fixture
def budget() -> Budget:
    return given_budget(seats=10)


@pytest.fixture
def assignment(budget: Budget) -> LearnerContentAssignment:
    course = given_content(COURSE, with_run=False)
    for key in (SPRING, AUTUMN):
        given_run(course, key)
    for held in CatalogMembership.objects.select_related("content"):
        held.links = {"enrollment_url": url(held.content.content_key)}
        held.save()
    allocate(budget, course, ALICE, now=timezone.now())
    return LearnerContentAssignment.objects.get()


@pytest.fixture
def learner(budget: Budget) -> User:
    return given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=7)


@pytest.fixture
def alice(learner: User) -> Door:
    return Door(key=given_api_key(learner))


def redeem(alice: Door, budget: Budget, key: str) -> Any:
    return alice.post(f"policy-redemption/{budget.uuid}/redeem/", {"content_key": key, "metadata": {}})


def polled(alice: Door, redeemed: Any) -> Any:
    return alice.get(redeemed["transaction_status_api_url"].partition("/api/v1/")[2]).json()


def link(redeemed: Any) -> tuple[str, str, str]:
    return redeemed["state"], redeemed["content_key"], redeemed["courseware_url"]


def test_the_run_is_answered_by_polling_and_by_redeeming_by_another_key(
    alice: Door, budget: Budget, assignment: LearnerContentAssignment
) -> None:
    redeemed = redeem(alice, budget, SPRING).json()

    assert link(redeemed) == ("committed", SPRING, url(SPRING))
    assert polled(alice, redeemed) == redeemed
    for key in (SPRING, AUTUMN, COURSE):
        assert redeem(alice, budget, key).json() == redeemed
    assert LedgerEntry.objects.count() == 1


def test_a_pending_redemption_is_polled_by_its_run_until_it_is_committed(
    alice: Door, budget: Budget, assignment: LearnerContentAssignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(runner, "drain", lambda **_options: 0)
        pending = redeem(alice, budget, AUTUMN).json()
        assert redeem(alice, budget, SPRING).json() == polled(alice, pending) == pending
        assert alice.can_redeem(budget, COURSE)[0]["redemptions"] == [pending]
    assert link(pending) == ("pending", AUTUMN, url(AUTUMN))

    runner.drain(clock=timezone.now, limit=100)

    assert link(polled(alice, pending)) == ("committed", AUTUMN, url(AUTUMN))


@pytest.mark.parametrize(("then", "key"), [(AUTUMN, AUTUMN), (COURSE, COURSE)])
def test_after_a_failure_the_run_that_is_chosen_then_counts(
    alice: Door, budget: Budget, assignment: LearnerContentAssignment, then: str, key: str
) -> None:
    redemption.begin(assignment, now=timezone.now(), content_key=SPRING)
    LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REDEEMED).update(
        status=Status.FAILED, error_reason="enrollment_error", due_at=None, early=None
    )
    LearnerContentAssignment.objects.update(redeeming_since=None)

    assert link(redeem(alice, budget, then).json()) == ("committed", key, url(key))
    keys = assignment.actions.filter(action_type=ActionType.REDEEMED).order_by("pk")
    assert list(keys.values_list("content_run_key", flat=True)) == [SPRING, "" if then == COURSE else then]


def test_can_redeem_has_the_redemption_of_what_is_accepted(
    alice: Door, budget: Budget, assignment: LearnerContentAssignment
) -> None:
    assert [one["redemptions"] for one in alice.can_redeem(budget, COURSE, SPRING)] == [[], []]
    redeemed = redeem(alice, budget, SPRING).json()

    for verdict in alice.can_redeem(budget, COURSE, SPRING, AUTUMN):
        assert (verdict["has_successful_redemption"], verdict["redemptions"]) == (True, [redeemed])

    redemption.reverse(LedgerEntry.objects.get().uuid, now=timezone.now())
    assert [one["redemptions"] for one in alice.can_redeem(budget, COURSE)] == [[]]


def test_the_timeline_and_the_pages_name_the_run(
    client: Client, alice: Door, learner: User, budget: Budget, assignment: LearnerContentAssignment
) -> None:
    redeem(alice, budget, SPRING)

    ada = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    actions = Door(key=given_api_key(ada)).timeline(assignment).json()["results"]
    runs = {one["action_type"]: one["content_run_key"] for one in actions}
    assert (runs["redeemed"], runs["allocated"]) == (SPRING, None)
    page = reverse("assignment", args=[assignment.uuid])
    client.force_login(ada)
    assert f"by its run <code>{SPRING}</code>" in client.get(page).content.decode()
    client.force_login(learner)
    assert f'href="{url(SPRING)}"' in client.get(page).content.decode()


def thin(course: str) -> None:
    """Let the course be known as a listing of the search shape has it: without its runs."""
    CatalogMembership.objects.exclude(via_course="").delete()
    ContentMetadata.objects.filter(content_key=course).update(completeness=Completeness.THIN)


def test_a_course_known_by_a_thin_record_alone_is_not_redeemed_while_the_catalog_is_silent(
    client: Client,
    alice: Door,
    learner: User,
    budget: Budget,
    assignment: LearnerContentAssignment,
    settings: Settings,
    tmp_path: Path,
) -> None:
    settings.CATALOG_URL = f"file://{tmp_path}/nowhere/"
    thin(COURSE)

    answer = redeem(alice, budget, COURSE)

    assert (answer.status_code, answer.json()["reason"]) == (503, "catalog_unavailable")
    client.force_login(learner)
    page = client.post(reverse("accept", args=[assignment.uuid]), follow=True).content.decode()
    assert "The catalog does not answer" in page
    assert not assignment.actions.filter(action_type=ActionType.REDEEMED).exists()
    assert not LedgerEntry.objects.exists()


@pytest.mark.parametrize(
    ("served", "answered"),
    [
        ("open", (200, "committed")),
        ("unpublished", (422, "content_not_active")),
        ("nothing", (503, "catalog_unavailable")),
    ],
)
def test_a_course_known_by_a_thin_record_alone_is_fetched_before_it_is_redeemed(
    alice: Door, budget: Budget, settings: Settings, tmp_path: Path, served: str, answered: tuple[int, str]
) -> None:
    cases = Path(__file__).parent.parent / "data" / "cases" / "joinable.jsonl"
    records = [json.loads(line) for line in cases.read_text().splitlines()]
    (record,) = [one for one in records if one["key"] == "RevX+1"]
    file = tmp_path / f"{CATALOG}.jsonl"
    file.write_text(json.dumps(record))
    settings.CATALOG_URL = f"file://{tmp_path}/"
    done = door_of(Role.ADMINISTRATOR, customer=budget.customer).post(
        f"policy-allocation/{budget.uuid}/allocate/",
        {"content_key": "RevX+1", "content_price_cents": 6_200, "learner_emails": [ALICE]},
    )
    assert done.status_code == 202, done.content
    thin("RevX+1")
    if served == "unpublished":
        record["course_runs"][0] |= {"status": "unpublished", "is_marketable_external": False}
    file.write_text("" if served == "nothing" else json.dumps(record))

    answer = redeem(alice, budget, "RevX+1")

    body = answer.json()
    body = body if isinstance(body, dict) else body[0]
    assert (answer.status_code, body.get("state") or body["reason"]) == answered
    assert LedgerEntry.objects.exists() is (answered[0] == 200)
