"""POSTs with an `Idempotency-Key`: done once, answered alike, and remembered for a day."""

import json
from typing import Any

import pytest
from django.urls import get_resolver
from pytest_django import Settings

from bursary.access.models import IdempotentRequest, Role
from bursary.api import views
from bursary.assignments import allocation
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops import erasure_runs
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, allocating, body_of
from tests.world import ALICE, BOB, NOW, addresses, given_api_key, given_user

pytestmark = pytest.mark.django_db


def send(door: Door, path: str, body: object, *, key: str = "k-1") -> Answer:
    return door.send("POST", path, json.dumps(body).encode(), HTTP_IDEMPOTENCY_KEY=key)


def replayed(answer: Answer) -> bool:
    return bool(answer.headers.get("Idempotent-Replayed") == "true")


def test_a_repeated_allocation_is_answered_as_the_first_was(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    first = send(door, allocating(budget), body_of(content, ALICE))
    again = send(door, allocating(budget), body_of(content, ALICE))
    assert (first.status_code, again.status_code) == (202, 202)
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.json() == first.json()
    assert len(again.json()["created"]) == 1
    assert AllocationBatch.objects.count() == 1


def test_without_a_key_nothing_is_kept(door: Door, budget: Budget, content: ContentMetadata) -> None:
    assert door.post(allocating(budget), body_of(content, ALICE)).status_code == 202
    assert not IdempotentRequest.objects.exists()


def test_a_key_belongs_to_the_caller_and_the_address(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    administrator = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    ways = [Door(session=administrator), *(Door(key=given_api_key(administrator)) for _ in range(2)), door]
    for way in ways:
        assert not replayed(send(way, allocating(budget), body_of(content, ALICE)))
    assert not replayed(send(door, allocating(budget, dry=True), body_of(content, ALICE)))
    assert IdempotentRequest.objects.count() == 5


def test_the_same_key_with_another_body_or_query_is_refused(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    send(door, allocating(budget), body_of(content, ALICE))
    for path, body in (
        (allocating(budget), body_of(content, BOB)),
        (f"{allocating(budget)}?format=json", body_of(content, ALICE)),
    ):
        answer = send(door, path, body)
        assert answer.status_code == 422
        assert answer.json()[0]["reason"] == "idempotency_key_reused"
    assert LearnerContentAssignment.objects.count() == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\xe9", "a\tb"])
def test_an_empty_or_long_key_or_one_that_is_not_ascii_is_refused(
    door: Door, budget: Budget, content: ContentMetadata, key: str
) -> None:
    answer = send(door, allocating(budget), body_of(content, ALICE), key=key)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_request")
    assert "Idempotency-Key" in answer.json()
    assert not LearnerContentAssignment.objects.exists()
    assert send(door, allocating(budget), body_of(content, ALICE), key="k" * 255).status_code == 202


def test_a_request_that_is_being_done_is_refused_at_once(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[Answer] = []

    def allocate(*arguments: Any, **more: Any) -> Any:
        meanwhile.append(send(door, allocating(budget), body_of(content, ALICE)))
        return real(*arguments, **more)

    real = allocation.allocate
    monkeypatch.setattr(allocation, "allocate", allocate)
    first = send(door, allocating(budget), body_of(content, ALICE))
    assert first.status_code == 202
    (second,) = meanwhile
    assert (second.status_code, second.json()["reason"]) == (409, "request_in_progress")
    assert second.headers["Retry-After"] == "2"


def test_a_refusal_is_remembered_and_an_error_is_not(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = body_of(content, *addresses(11))  # of ten seats
    assert send(door, allocating(budget), asked).status_code == 422
    Budget.objects.update(limit_cents=None)
    again = send(door, allocating(budget), asked)
    assert (again.status_code, replayed(again)) == (422, True)

    def broken(*_arguments: Any, **_more: Any) -> Any:
        raise ZeroDivisionError

    door.client.raise_request_exception = False
    with monkeypatch.context() as while_broken:
        while_broken.setattr(allocation, "allocate", broken)
        assert send(door, allocating(budget), asked, key="k-2").status_code == 500
    assert send(door, allocating(budget), asked, key="k-2").status_code == 202


def test_content_that_is_unavailable_now_may_be_asked_for_again(
    door: Door, budget: Budget, content: ContentMetadata, settings: Settings
) -> None:
    settings.CATALOG_URL = "file:///nowhere"
    asked = body_of(content, ALICE, content_key="NobodyX+N1")
    assert send(door, allocating(budget), asked).status_code == 503
    assert not IdempotentRequest.objects.exists()


def test_a_large_answer_is_kept_as_uuids_and_shown_as_its_assignments_are(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.post(allocating(budget), body_of(content, BOB))
    monkeypatch.setattr(views, "LARGEST_WHOLE", 100)
    asked = body_of(content, *addresses(3), BOB)
    first, again = (send(door, allocating(budget), asked) for _ in range(2))
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.json() == first.json()
    assert [len(again.json()[kind]) for kind in ("created", "updated", "no_change")] == [3, 0, 1]
    kept = IdempotentRequest.objects.get()
    assert kept.abridged
    assert kept.body
    assert kept.body["created"] == [one["uuid"] for one in first.json()["created"]]


def test_a_large_summary_is_kept_as_it_is(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LARGEST_WHOLE", 100)
    path, asked = f"{allocating(budget)}?summary=true", body_of(content, *addresses(3))
    first, again = (send(door, path, asked) for _ in range(2))
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.json() == first.json()


def test_a_large_preview_is_made_anew(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LARGEST_WHOLE", 100)
    for _ in range(2):
        answer = send(door, allocating(budget, dry=True), body_of(content, ALICE))
        assert (answer.status_code, replayed(answer)) == (200, False)
    assert not IdempotentRequest.objects.exists()


def test_a_large_refusal_is_made_anew(
    door: Door, budget: Budget, content: ContentMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LARGEST_WHOLE", 100)
    for _ in range(2):
        answer = send(door, allocating(budget), body_of(content, *addresses(11)))  # of ten seats
        assert (answer.status_code, replayed(answer)) == (422, False)
    assert not IdempotentRequest.objects.exists()


def test_a_refusal_that_repeats_a_nul_is_given_and_not_kept(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    for _ in range(2):
        answer = send(door, allocating(budget, dry=True), body_of(content, "a\0b@learners.example"))
        assert (answer.status_code, replayed(answer)) == (200, False)


def test_stored_answers_are_erased_with_the_person_that_they_name(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    learner = given_user(Role.LEARNER, customer=budget.customer, email=ALICE, lms_user_id=884_471_108)
    asked = body_of(content, ALICE, BOB)
    send(door, allocating(budget), asked)
    own = Door(session=learner)
    uuid = str(LearnerContentAssignment.objects.get(learner_email=ALICE).uuid)
    send(
        own,
        f"assignment-configurations/{budget.assignment_configuration_uuid}/assignments/{uuid}/decline/",
        {},
    )
    assert IdempotentRequest.objects.filter(user=learner).count() == 1

    assert erasure_runs.forget(ALICE, now=NOW)["complete"]

    assert not IdempotentRequest.objects.filter(user=learner).exists()
    again = send(door, allocating(budget), asked)
    assert replayed(again)
    assert ALICE not in again.content.decode()
    assert "884471108" not in again.content.decode()
    assert BOB in again.content.decode()


def test_each_post_of_the_api_takes_a_key() -> None:
    patterns: Any = get_resolver("bursary.api.urls").url_patterns
    classes: set[type] = {one.callback.view_class for one in patterns}
    posting = {one for one in classes if hasattr(one, "post")}
    assert len(posting) > 10
    assert all(issubclass(one, views.APIView) for one in posting)
