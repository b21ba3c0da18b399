"""Why a learner cannot accept an assignment, and what they can do next."""

from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from bursary.assignments import allocation, matching, offers, redemption
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import State
from bursary.assignments.declining import decline
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.redemption import RedemptionRefused
from tests.replica.reading import a_course, read_over_http
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    CATALOG,
    NOW,
    PRICE,
    allocate,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def test_what_has_ended_names_the_next_step() -> None:
    assignment = given_assignment()
    refused = redemption.refusal(assignment, now=assignment.expires_at)
    assert refused
    assert refused.next_step == "To take it after all, ask your organisation to assign it again."


def test_a_passed_deadline_is_honoured_before_the_sweep_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    assignment = given_assignment()
    monkeypatch.delattr(offers, "of_assignment_or_fetched")  # what is refused anyway is not asked about
    with pytest.raises(RedemptionRefused) as refused:
        redemption.begin(assignment, now=assignment.expires_at)
    assert refused.value.reason == "reason_learner_assignment_expired"


def test_what_the_learner_declined_says_so() -> None:
    refused = redemption.refusal(given_assignment(), now=NOW, declined=True)
    assert refused
    assert (refused.reason, refused.sentence) == (
        "reason_learner_assignment_cancelled",
        "You declined this assignment.",
    )


OUT_OF_USE = "The budget that pays for this course is not in use at present."
ASK_WHEN = "Ask your organisation when it can be accepted; until then you can decline it."


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, None),
        (
            {"starts_at": NOW + DAY},
            RedemptionRefused(
                "subsidy_expired",
                "The budget that pays for this course opens on Tuesday, 3 March 2026, 10:00 (Madrid time).",
                "Accept it from then on.",
            ),
        ),
        (
            {"starts_at": NOW - DAY, "ends_at": NOW},
            RedemptionRefused("subsidy_expired", OUT_OF_USE, ASK_WHEN),
        ),
        (
            {"starts_at": NOW - DAY, "active": False},
            RedemptionRefused("policy_expired", OUT_OF_USE, ASK_WHEN),
        ),
    ],
    ids=["in use", "not open yet", "over", "switched off"],
)
def test_an_open_assignment_waits_for_its_budget_and_says_until_when(
    columns: dict[str, Any], expected: RedemptionRefused | None
) -> None:
    one = given_assignment()
    for name, value in columns.items():
        setattr(one.budget, name, value)

    assert redemption.budget_refusal(one, now=NOW) == expected
    one.redeeming_since = NOW
    assert redemption.budget_refusal(one, now=NOW) is None
    one.redeeming_since, one.state = None, State.ACCEPTED
    assert redemption.budget_refusal(one, now=NOW) is None


def test_what_waits_for_its_budget_to_open_is_not_accepted_before() -> None:
    assignment = given_assignment(given_budget(starts_at=NOW - DAY), now=NOW)
    assignment.budget.starts_at = NOW + DAY
    assignment.budget.save()
    with pytest.raises(RedemptionRefused) as refused:
        redemption.begin(LearnerContentAssignment.objects.get(), now=NOW)
    assert refused.value.next_step == "Accept it from then on."
    assert redemption.begin(LearnerContentAssignment.objects.get(), now=NOW + DAY)


def test_offers_that_were_read_before_are_kept_beside_those_that_are_read_now() -> None:
    first, second = given_assignment(), given_assignment()
    both = [(one, one.content_key) for one in (first, second)]
    known = offers.of_assignments([first], now=NOW)
    assert redemption.joining_refusals(both, now=NOW, ask=True, known=known) == {}


def test_only_what_was_declined_in_this_cycle_and_was_asked_about_counts_as_declined() -> None:
    budget, content = given_budget(), given_content()
    allocate(budget, content, ALICE, BOB, CAROL)
    alices, bobs, carols = LearnerContentAssignment.objects.order_by("pk")
    for one in (bobs, carols):
        decline(one, reason="", now=NOW + timedelta(minutes=1))
    cancel(budget, uuids=[alices.uuid], now=NOW)
    alices, bobs, carols = LearnerContentAssignment.objects.order_by("pk")

    assert matching.which_declined([alices, bobs]) == {bobs.pk}
    assert matching.which_declined([alices]) == set()


def test_whether_content_can_be_joined_follows_upstream_at_the_time_asked_for(settings: Settings) -> None:
    """An answer of upstream is good for five minutes."""
    with read_over_http(settings, a_course("RiversideX+TIDES"), mode="upstream") as upstream:
        allocation.allocate(
            given_budget(), content_key="RiversideX+TIDES", price_cents=PRICE, entries=[ALICE], now=NOW
        )
        closed = a_course("RiversideX+TIDES", enroll_by_date=NOW.isoformat())
        upstream.database.put(closed, catalogs=[str(CATALOG)])
        asked = [(LearnerContentAssignment.objects.get(), "RiversideX+TIDES")]

        assert redemption.joining_refusals(asked, now=NOW + timedelta(minutes=4)) == {}
        [refused] = redemption.joining_refusals(asked, now=NOW + timedelta(minutes=6)).values()
        assert refused.reason == "enrollment_not_open_in_time"
