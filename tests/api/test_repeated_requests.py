"""Every POST of the API, sent twice: the second time nothing is done again, or its refusal warns of it.

So a client may follow `outcome_unknown`, and send again what may be stored.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from bursary.access.models import Role
from bursary.api import refusals
from bursary.assignments import actions, outcomes
from bursary.assignments.choices import ActionType, ErrorReason, State
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from bursary.budgets.models import Budget, LedgerEntry
from bursary.replica.models import ContentMetadata
from tests.api.door import Answer, Door, listing
from tests.world import ALICE, BOB, CAROL, NOW, action_of, allocate, given_api_key, given_user

pytestmark = pytest.mark.django_db

LATER = (NOW + timedelta(days=120)).date().isoformat()


@pytest.fixture
def three(budget: Budget, content: ContentMetadata) -> list[LearnerContentAssignment]:
    """Return open assignments from yesterday, of which the mail of the first failed."""
    allocate(budget, content, ALICE, BOB, CAROL, now=NOW - timedelta(days=1))
    rows = list(LearnerContentAssignment.objects.order_by("pk"))
    for one in rows:
        action = action_of(one, ActionType.NOTIFIED)
        (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[action.pk])
        failure = Failure(ErrorReason.EMAIL_ERROR, "address_rejected", "No such mailbox.", "")
        done = Failed(failure) if one is rows[0] else outcomes.Done()
        assert actions.finish(claimed, done, now=NOW - timedelta(hours=20))
    return rows


def stored() -> list[Any]:
    """Return what every assignment and every action is, and each movement of money."""
    columns = ("state", "learner_email", "expires_at", "decline_reason", "price_cents")
    return [
        *LearnerContentAssignment.objects.order_by("pk").values_list(*columns),
        *LearnerContentAssignmentAction.objects.order_by("pk").values_list("pk", "status", "attempts"),
        *LedgerEntry.objects.order_by("pk").values_list("pk", "cents"),
    ]


def twice(door: Door, path: str, body: object) -> Answer:
    """Send it twice, see that only the first one changed anything, and return the second answer."""
    before = stored()
    first = door.post(path, body)
    assert first.status_code < 300, first.json()
    after = stored()
    assert after != before
    again = door.post(path, body)
    assert stored() == after
    return again


@pytest.mark.parametrize(
    ("verb", "body", "which", "status"),
    [
        ("cancel", {}, [0, 1], 200),
        ("remind", {}, [1, 2], 200),
        ("nudge", {}, [1], 200),
        ("retry", {}, [0], 422),
        ("skip", {"reason": "They have left."}, [0], 422),
        ("extend", {"until": LATER}, [0, 1, 2], 422),
    ],
)
def test_what_an_administrator_sent_twice_is_done_once(
    door: Door,
    budget: Budget,
    three: list[LearnerContentAssignment],
    verb: str,
    body: dict[str, str],
    which: list[int],
    status: int,
) -> None:
    if verb == "nudge":
        soon = NOW + timedelta(days=5)
        LearnerContentAssignment.objects.update(state=State.ACCEPTED, content_start=soon)
    named = [str(three[index].uuid) for index in which]

    again = twice(door, f"{listing(budget)}{verb}/", {"assignment_uuids": named} | body)

    answer = again.json()
    assert again.status_code == status, answer
    assert len(answer["no_change"] if status == 200 else answer) == len(named), answer


@pytest.mark.parametrize("verb", ["cancel-all", "remind-all"])
def test_what_was_sent_twice_for_all_is_done_once(
    door: Door, budget: Budget, three: list[LearnerContentAssignment], verb: str
) -> None:
    twice(door, f"{listing(budget)}{verb}/", {})


@pytest.mark.parametrize(
    ("verb", "body", "count"),
    [("retry-all/?cause=address_rejected", {}, 1), ("extend-all/", {"until": LATER}, 3)],
)
def test_a_confirmed_count_that_is_sent_twice_is_done_once(
    door: Door,
    budget: Budget,
    three: list[LearnerContentAssignment],
    verb: str,
    body: dict[str, str],
    count: int,
) -> None:
    twice(door, f"{listing(budget)}{verb}", {"confirmed_count": count} | body)


def test_an_address_that_is_corrected_twice_is_corrected_once(
    door: Door, budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    pair = {"old_address": ALICE, "new_address": "alice@elsewhere.example"}
    again = twice(door, f"{listing(budget)}correct-addresses/", {"corrections": [pair]})
    assert (again.status_code, again.json()[0]["reason"]) == (422, "nothing_to_correct")


def test_what_a_learner_sent_twice_is_done_once(
    budget: Budget, three: list[LearnerContentAssignment]
) -> None:
    for address, path, body in (
        (ALICE, f"policy-redemption/{budget.uuid}/redeem/", {"content_key": three[0].content_key}),
        (
            BOB,
            f"assignment-configurations/{budget.assignment_configuration_uuid}/assignments/{three[1].uuid}/decline/",
            {"reason": "No time."},
        ),
    ):
        user = given_user(Role.LEARNER, customer=budget.customer, email=address)
        again = twice(Door(key=given_api_key(user)), path, body)
        assert again.status_code == 200, again.json()


def test_a_reminder_that_is_sent_again_much_later_is_another_mail_as_its_refusal_says(
    door: Door,
    budget: Budget,
    three: list[LearnerContentAssignment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door.remind(budget, three[1].uuid)
    monkeypatch.setattr(timezone, "now", lambda: NOW + timedelta(minutes=11))
    LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED).update(
        status="done", completed_at=NOW, due_at=None, early=None
    )

    assert door.remind(budget, three[1].uuid).json()["reminded"] == [str(three[1].uuid)]

    for path, warns in ((f"/{listing(budget)}remind/", True), (f"/{listing(budget)}cancel/", False)):
        body = refusals.of_outage(path, may_be_committed=True)
        assert ("within ten minutes" in body["next_step"]) is warns
