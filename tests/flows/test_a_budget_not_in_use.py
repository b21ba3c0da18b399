"""A budget that is not in use: its learners see why, and nothing is asked of them; its money can be freed."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import declining, expiry, redemption, reminders
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import NotInUse
from bursary.delivery import runner
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    NOW,
    action_of,
    deliver,
    given_api_key,
    given_assignment,
    given_budget,
    given_user,
    timeline,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
UNUSED: dict[NotInUse, dict[str, Any]] = {
    NotInUse.INACTIVE: {"active": False},
    NotInUse.RETIRED: {"retired_at": NOW},
    NotInUse.NOT_YET_OPEN: {"starts_at": NOW + 5 * DAY},
}
REASONS = {
    NotInUse.INACTIVE: "policy_expired",
    NotInUse.RETIRED: "policy_expired",
    NotInUse.NOT_YET_OPEN: "subsidy_expired",
}


def change(assignment: LearnerContentAssignment, now: Any = NOW, **changed: Any) -> None:
    terms.change(assignment.budget, now=now, terms=changed)
    assignment.refresh_from_db()


@pytest.fixture(params=list(UNUSED))
def why(request: pytest.FixtureRequest) -> NotInUse:
    member: NotInUse = request.param
    return member


def test_nothing_is_accepted_or_spent_and_the_reason_is_stable(why: NotInUse) -> None:
    assignment = given_assignment()
    change(assignment, **UNUSED[why])

    with pytest.raises(redemption.RedemptionRefused) as refused:
        redemption.begin(assignment, now=NOW)

    assert refused.value.reason == REASONS[why]
    assignment.refresh_from_db()
    assert assignment.redeeming_since is None


def test_the_invitation_waits_with_the_reason_and_is_sent_once_the_budget_is_in_use(
    mail: MailServer, why: NotInUse
) -> None:
    assignment = given_assignment()
    change(assignment, **UNUSED[why])

    deliver()

    waiting = action_of(assignment, ActionType.NOTIFIED)
    assert (waiting.status, waiting.attempt_log[-1]["cause"]) == (Status.PENDING, "budget_not_in_use")
    assert mail.received == []
    change(assignment, now=NOW + DAY, active=True, retired_at=None, starts_at=None)
    deliver(now=NOW + DAY)
    assert len(mail.received) == 1
    assert action_of(assignment, ActionType.NOTIFIED).status == Status.DONE


def test_an_invitation_that_has_waited_longer_than_a_failing_one_is_tried_is_sent_all_the_same(
    mail: MailServer,
) -> None:
    assignment = given_assignment(given_budget(allocation_age_days=3650))
    change(assignment, **UNUSED[NotInUse.INACTIVE])
    for _attempt in range(runner.MAX_ATTEMPTS + 2):
        due_at = action_of(assignment, ActionType.NOTIFIED).due_at
        assert due_at
        deliver(now=due_at)

    waiting = action_of(assignment, ActionType.NOTIFIED)
    assert (waiting.status, waiting.attempts) == (Status.PENDING, runner.MAX_ATTEMPTS + 2)
    change(assignment, now=waiting.modified, active=True)
    deliver(now=waiting.modified)
    assert len(mail.received) == 1


def test_the_invitation_is_sent_when_the_budget_opens(mail: MailServer) -> None:
    assignment = given_assignment()
    change(assignment, **UNUSED[NotInUse.NOT_YET_OPEN])
    deliver()

    deliver(now=NOW + 5 * DAY - timedelta(seconds=1))
    assert mail.received == []
    deliver(now=NOW + 5 * DAY)
    assert len(mail.received) == 1


def test_a_planned_reminder_is_skipped_with_the_reason_and_sent_when_the_budget_is_back(
    mail: MailServer, why: NotInUse
) -> None:
    assignment = given_assignment()
    deliver()
    later = NOW + 8 * DAY
    changed = UNUSED[why] if why is not NotInUse.NOT_YET_OPEN else {"starts_at": later + DAY}
    change(assignment, **changed)

    reminders.remind_due(now=later)
    deliver(now=later)

    skipped = action_of(assignment, ActionType.REMINDED)
    assert (skipped.status, skipped.error_code) == (Status.SKIPPED, "budget_not_in_use")
    assert len(mail.received) == 1
    change(assignment, now=later, active=True, retired_at=None, starts_at=None)
    reminders.remind_due(now=later)
    deliver(now=later)
    assert len(mail.received) == 2


def test_a_reminder_on_request_is_refused(why: NotInUse) -> None:
    assignment = given_assignment()
    deliver()
    change(assignment, **UNUSED[why])
    assignment.budget.refresh_from_db()

    outcome = reminders.remind(assignment.budget, uuids=[assignment.uuid], now=NOW + DAY)

    assert outcome.refused == {assignment.uuid: "from a budget that is not in use"}


@pytest.mark.usefixtures("mail")
def test_its_money_is_freed_by_cancelling_declining_and_expiring(why: NotInUse) -> None:
    for end in ("cancel", "decline", "expire"):
        assignment = given_assignment()
        deliver()
        change(assignment, **UNUSED[why])
        now = NOW + 100 * DAY if end == "expire" else NOW + DAY
        match end:
            case "cancel":
                cancel(assignment.budget, uuids=[assignment.uuid], now=now)
            case "decline":
                declining.decline(assignment, reason="", now=now)
            case "expire":
                expiry.expire_due(now=now)
        deliver(now=now)
        assignment.budget.refresh_from_db()
        assert assignment.budget.reserved_cents == 0, end
        notices = [kind for kind, status in timeline(assignment) if status == Status.DONE]
        assert {"cancel": "cancellation_notified", "expire": "expiration_notified"}.get(
            end, "declined"
        ) in notices


def test_its_learner_sees_why_over_the_api_and_on_the_page_and_can_decline(
    client: Client, why: NotInUse
) -> None:
    now = timezone.now()
    assignment = given_assignment(now=now)
    alice = given_user(Role.LEARNER, customer=assignment.budget.customer, email=ALICE)
    unused = UNUSED[why] | ({"starts_at": now + 5 * DAY} if why is NotInUse.NOT_YET_OPEN else {})
    change(assignment, now=now, **unused)

    asked = {"enterprise_customer_uuid": str(assignment.budget.customer.uuid)}
    signed = {"Authorization": f"Bearer {given_api_key(alice)}"}
    address = "/api/v1/policy-redemption/credits_available/"
    [policy] = client.get(address, asked, headers=signed).json()
    client.force_login(alice)
    page = client.get(reverse("assignment", args=[assignment.uuid])).content.decode()

    assert policy["not_in_use"] == why
    [row] = policy["learner_content_assignments"]
    assert (row["state"], row["not_acceptable_now"]["reason"]) == ("allocated", REASONS[why])
    assert row["not_acceptable_now"]["user_message"] in page
    assert 'value="accept"' not in page
    assert 'value="decline"' in page


def test_what_is_accepted_does_not_depend_on_the_budget_any_more(why: NotInUse) -> None:
    assignment = given_assignment()
    redemption.fulfil(redemption.begin(assignment, now=NOW), now=NOW)
    change(assignment, **UNUSED[why])

    assert assignment.state == State.ACCEPTED
    assert redemption.budget_refusal(assignment, now=NOW) is None
