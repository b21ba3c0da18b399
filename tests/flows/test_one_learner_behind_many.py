"""One learner is assigned after many others: the mail is on its way before theirs are sent."""

from datetime import timedelta
from typing import Any

import pytest

from bursary.assignments import actions, outcomes
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignmentAction
from bursary.lib import leases
from tests.world import (
    ALICE,
    NOW,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db

MANY = 60
SENT = 3
SECONDS = timedelta(seconds=5)


def test_only_earlier_turns_go_before_and_the_others_do_not_wait(
    mailoutbox: list[Any],
) -> None:
    allocate(given_budget(), given_content(), *addresses(MANY))
    assert deliver(limit=SENT) == SENT
    given_assignment(given_budget(), now=NOW + SECONDS)

    deliver(now=NOW + SECONDS)  # not a second later: where nothing else waits, the others are sent at once

    recipients = [mail.to[0] for mail in mailoutbox]
    assert len(recipients) == MANY + 1
    assert recipients.index(ALICE) == 6  # three were sent, and the turns of three have come in five seconds
    assert recipients[:6] == list(addresses(6))


def test_work_that_is_tried_again_takes_turns_as_well(mailoutbox: list[Any]) -> None:
    first = given_assignment()
    mailed = LearnerContentAssignmentAction.objects.get(action_type=ActionType.NOTIFIED)
    (claimed,) = actions.claim(now=NOW, lease=timedelta(minutes=5), limit=1, pks=[mailed.pk])
    actions.finish(claimed, outcomes.NotTried(until=NOW + SECONDS), now=NOW)
    allocate(first.budget, given_content(), *addresses(MANY))

    deliver(now=NOW + SECONDS, limit=10)

    assert [mail.to[0] for mail in mailoutbox].index(ALICE) == 5


def test_what_may_be_done_early_is_due_and_has_not_waited() -> None:
    allocate(given_budget(), given_content(), *addresses(3))
    rows = LearnerContentAssignmentAction.objects.all()
    assert deliver(limit=1) == 1
    assert leases.any_due(rows, now=NOW)
    assert leases.count_due(rows, now=NOW) == 2
    assert leases.oldest_due(rows, now=NOW) is None
    assert leases.oldest_due(rows, now=NOW + SECONDS) == NOW + timedelta(seconds=1)
