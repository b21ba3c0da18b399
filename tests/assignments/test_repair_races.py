"""Repairs by two administrators at the same moment: each failure is resolved once, each deadline extended."""

from datetime import timedelta
from functools import partial

import pytest

from bursary.assignments import actions, extension, failures
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.extension import ExtensionResult
from bursary.assignments.failures import RepairResult
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Failed, Failure
from tests.together import together
from tests.world import NOW, action_of, addresses, allocate, given_budget, given_content

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 5


def test_what_two_administrators_retry_at_once_is_retried_once() -> None:
    budget = given_budget()
    allocate(budget, given_content(), *addresses(COUNT))
    rows = list(LearnerContentAssignment.objects.order_by("pk"))
    for one in rows:
        mailed = action_of(one, ActionType.NOTIFIED)
        (claimed,) = actions.claim(now=NOW, lease=timedelta(hours=1), limit=1, pks=[mailed.pk])
        failure = Failure(ErrorReason.INTERNAL_API_ERROR, "mail_server_unreachable", "Silent.", "")
        assert actions.finish(claimed, Failed(failure), now=NOW)
    uuids = [one.uuid for one in rows]
    # Each names them in another order; they are locked in one.
    retry = [partial(failures.retry, budget, uuids=named, now=NOW) for named in (uuids, uuids[::-1])]

    outcomes = [one for one in together(retry) if isinstance(one, RepairResult)]

    assert len(outcomes) == 2
    assert sorted(uuid for one in outcomes for uuid in one.repaired) == sorted(uuids)
    assert [why for one in outcomes for why in one.refused.values()] == ["nothing_failed"] * COUNT
    retries = LearnerContentAssignmentAction.objects.filter(retry_of__isnull=False)
    assert list(retries.values_list("status", flat=True)) == [Status.PENDING] * COUNT


def test_a_retry_by_a_request_that_read_the_clock_earlier_can_be_retried_again() -> None:
    budget = given_budget()
    allocate(budget, given_content(), *addresses(1))
    assignment = LearnerContentAssignment.objects.get()
    failure = Failure(ErrorReason.INTERNAL_API_ERROR, "mail_server_unreachable", "Silent.", "")
    for seconds in (2, 1, 0):  # of requests that began in another order than they were let in
        newest = assignment.actions.filter(action_type=ActionType.NOTIFIED).latest("pk")
        (claimed,) = actions.claim(
            now=NOW + timedelta(hours=1), lease=timedelta(hours=1), limit=1, pks=[newest.pk]
        )
        assert actions.finish(claimed, Failed(failure), now=NOW + timedelta(hours=1))

        done = failures.retry(budget, uuids=[assignment.uuid], now=NOW + timedelta(seconds=seconds))

        assert (done.repaired, done.refused) == ([assignment.uuid], {})


def test_the_later_of_two_extensions_at_once_is_the_deadline() -> None:
    budget = given_budget()
    allocate(budget, given_content(), *addresses(COUNT))
    uuids = list(LearnerContentAssignment.objects.values_list("uuid", flat=True))
    dates = [NOW + timedelta(days=days) for days in (100, 120)]
    nows = [NOW, NOW + timedelta(seconds=1)]
    extend = [
        partial(extension.extend, budget, uuids=named, until=until, now=now)
        for named, until, now in zip((uuids, uuids[::-1]), dates, nows, strict=True)
    ]

    outcomes = [one for one in together(extend) if isinstance(one, ExtensionResult)]

    assert len(outcomes) == 2
    assert set(LearnerContentAssignment.objects.values_list("expires_at", flat=True)) == {dates[1]}
    assert {why for one in outcomes for why in one.refused.values()} <= {"deadline_not_later"}
