"""Nudges of courses with an advertised run that has started: they go by the start that learners read."""

from datetime import timedelta
from typing import Any

import pytest

from bursary.assignments import actions, failures, redemption, reminders
from bursary.assignments.choices import ActionType, ErrorReason, State, Status
from bursary.assignments.failures import RepairRefusal
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.outcomes import Failed, Failure
from bursary.replica.models import ContentMetadata
from tests.letters import text_of
from tests.smtp import MailServer
from tests.world import (
    NOW,
    action_of,
    change_content,
    deliver,
    given_assignment,
    given_content,
    given_run,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
SECOND, THIRD = NOW + 12 * DAY, NOW + 70 * DAY
"""When the further runs start; the advertised one has started five days ago."""


def given_started(*starts: Any, **columns: Any) -> ContentMetadata:
    """Return a course with an advertised run that has started, and further runs with these starts."""
    course = given_content(start_date=NOW - 5 * DAY, end_date=NOW + 60 * DAY, **columns)
    for number, start in enumerate(starts, 2):
        given_run(course, f"course-v1:{course.content_key}+R{number}", start_date=start, end_date=None)
    ContentMetadata.objects.filter(pk=course.pk).update(advertised_run=f"course-v1:{course.content_key}+R1")
    return course


def nudge(assignment: LearnerContentAssignment, **more: Any) -> reminders.ReminderResult:
    return reminders.nudge(assignment.budget, uuids=[assignment.uuid], now=NOW, **more)


def test_the_mail_names_the_next_run_that_can_be_joined_as_the_learners_page_does(mail: MailServer) -> None:
    assignment = given_assignment(content=given_started(THIRD, SECOND))
    deliver()

    assert nudge(assignment).requested == [assignment.uuid]
    deliver()

    assert action_of(assignment, ActionType.NUDGED).status == Status.DONE
    assert mail.received[-1]["Subject"].strip() == "“Tidal Engines” starts on Saturday, 14 March 2026"
    assert "has assigned you starts on Saturday, 14 March 2026:" in text_of(mail.received[-1])


def test_a_nudge_that_waits_while_the_advertised_run_starts_names_the_next_run(mail: MailServer) -> None:
    assignment = given_assignment(content=given_started(SECOND))
    change_content(given_advertised(assignment), start_date=NOW + DAY)
    deliver()
    assert nudge(assignment).requested == [assignment.uuid]

    deliver(now=NOW + 2 * DAY)

    assert mail.received[-1]["Subject"].strip() == "“Tidal Engines” starts on Saturday, 14 March 2026"


def given_advertised(assignment: LearnerContentAssignment) -> ContentMetadata:
    content = assignment.content
    assert content is not None
    return content


def test_an_accepted_course_is_nudged_by_the_run_that_could_be_joined_then(mail: MailServer) -> None:
    assignment = given_assignment(content=given_started(SECOND, THIRD))
    deliver()
    redemption.fulfil(redemption.begin(assignment, now=NOW), now=NOW)

    assert nudge(assignment).requested == [assignment.uuid]
    deliver()

    assert mail.received[-1]["Subject"].strip() == "“Tidal Engines” starts on Saturday, 14 March 2026"


def test_days_before_the_start_count_to_the_start_of_that_run() -> None:
    assignment = given_assignment(content=given_started(SECOND))
    assert nudge(assignment, within_days=11).refused == {assignment.uuid: "not starting soon"}
    assert nudge(assignment, within_days=12).requested == [assignment.uuid]


def test_a_course_of_which_each_run_has_started_is_not_nudged(mail: MailServer) -> None:
    assignment = given_assignment(content=given_started(NOW - DAY))
    deliver()
    assert nudge(assignment).refused == {assignment.uuid: "past its start"}

    actions.request([assignment], [ActionType.NUDGED], now=NOW)
    deliver()

    nudged = action_of(assignment, ActionType.NUDGED)
    assert (nudged.status, nudged.error_code) == (Status.SKIPPED, "started")


def test_a_further_run_that_cannot_be_joined_brings_no_nudge() -> None:
    assignment = given_assignment(content=given_started(SECOND))
    ContentMetadata.objects.filter(start_date=SECOND).update(offered=False)
    assert nudge(assignment).refused == {assignment.uuid: "past its start"}


@pytest.mark.parametrize(
    ("state", "day", "is_retried"),
    [
        (State.ALLOCATED, 11, True),
        (State.ALLOCATED, 13, True),  # the third run is next
        (State.ALLOCATED, 71, False),
        (State.ACCEPTED, 11, True),
        (State.ACCEPTED, 13, False),  # as before: the second run was next when it was accepted
    ],
)
def test_a_failed_nudge_is_retried_until_the_run_starts_that_the_mail_would_name(
    mail: MailServer, state: State, day: int, is_retried: bool
) -> None:
    assignment = given_assignment(content=given_started(SECOND, THIRD))
    accepted_at = NOW if state == State.ACCEPTED else None
    LearnerContentAssignment.objects.update(state=state, accepted_at=accepted_at)
    actions.request([assignment], [ActionType.NUDGED], now=NOW)
    failed = action_of(assignment, ActionType.NUDGED)
    (claimed,) = actions.claim(now=NOW, lease=DAY, limit=1, pks=[failed.pk])
    failure = Failure(ErrorReason.EMAIL_ERROR, "address_rejected", "No such mailbox.", "")
    actions.finish(claimed, Failed(failure), now=NOW)

    done = failures.retry(assignment.budget, uuids=[assignment.uuid], now=NOW + day * DAY)

    refused = {} if is_retried else {assignment.uuid: RepairRefusal.TOO_LATE}
    assert (done.refused, len(done.repaired)) == (refused, int(is_retried))
    deliver(now=NOW + day * DAY)
    assert (action_of(assignment, ActionType.NUDGED).status == Status.DONE) == is_retried
