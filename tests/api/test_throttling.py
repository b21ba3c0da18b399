"""A caller that sends too many requests within a minute is refused, with when to go on."""

import pytest
from pytest_django import Settings

from bursary.access.models import ApiKey, IdempotentRequest, RequestTally, Role
from bursary.api import throttling
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, allocating, body_of, door_of, refusal_of
from tests.world import ALICE, BOB, given_api_key, given_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def two_a_minute(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.POSTS_PER_MINUTE = settings.GETS_PER_MINUTE = 2
    monkeypatch.setattr("bursary.api.throttling.time.monotonic", lambda: 30.0)


def test_the_third_post_is_refused_until_the_next_minute_and_changes_nothing(
    door: Door, budget: Budget, content: ContentMetadata
) -> None:
    sent = [door.allocate(budget, content, one) for one in (ALICE, BOB, "carol@learners.example")]
    assert [answer.status_code for answer in sent] == [202, 202, 429]
    assert refusal_of(sent[2]) == (429, "too_many_requests")
    assert sent[2].headers["Retry-After"] == "60"
    assert "2 POST requests within a minute" in sent[2].json()["detail"]
    assert LearnerContentAssignment.objects.count() == 2
    assert door.policies().status_code == 200  # GETs are counted apart


def test_the_third_get_is_refused_and_nothing_is_written_for_any(door: Door) -> None:
    sent = [door.policies() for _ in range(3)]
    assert [answer.status_code for answer in sent] == [200, 200, 429]
    assert sent[2].headers["Retry-After"] == "30"
    assert not RequestTally.objects.exists()


def test_each_key_is_counted_for_itself_and_a_session_for_its_user(budget: Budget) -> None:
    user = given_user(Role.ADMINISTRATOR, customer=budget.customer)
    doors = [Door(key=given_api_key(user)), Door(key=given_api_key(user)), Door(session=user)]
    statuses = [[door.policies().status_code for _ in range(3)] for door in (*doors, Door(session=user))]
    assert statuses == [[200, 200, 429]] * 3 + [[429] * 3]


def test_a_repetition_is_answered_though_no_more_posts_are(
    door: Door, budget: Budget, content: ContentMetadata, settings: Settings
) -> None:
    settings.GETS_PER_MINUTE = 4

    def send(key: str) -> Answer:
        return door.send(
            "POST",
            allocating(budget),
            door.client._encode_data(body_of(content, ALICE), "json")[0],
            HTTP_IDEMPOTENCY_KEY=key,
        )

    assert [send(key).status_code for key in ("1", "2", "3", "1")] == [202, 202, 429, 202]
    assert IdempotentRequest.objects.count() == 2  # what was refused is not remembered
    assert refusal_of(send("1")) == (429, "too_many_requests")  # a repetition is counted as a GET


def test_requests_without_sign_in_are_refused_for_that_and_not_counted() -> None:
    assert {Door().policies().status_code for _ in range(3)} == {401}
    assert {Door(key="bur_guessed").policies().status_code for _ in range(3)} == {401}
    assert {Door().get("schema/").status_code for _ in range(1)} == {200}
    assert not throttling.GETS._counts
    assert not ApiKey.objects.exists()


def test_without_a_limit_nothing_is_counted(settings: Settings, budget: Budget) -> None:
    settings.POSTS_PER_MINUTE = settings.GETS_PER_MINUTE = 0
    door = door_of(Role.ADMINISTRATOR, customer=budget.customer)
    assert {door.policies().status_code for _ in range(3)} == {200}
    assert {door.to_all(budget, "cancel").status_code for _ in range(3)} == {202}
    assert not RequestTally.objects.exists()
