"""What is kept for a while is deleted by the daily task, each kind by its setting, and nothing else is."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pytest_django import Settings

from bursary.access import idempotency
from bursary.assignments import actions
from bursary.assignments.choices import ActionType, ErrorReason, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.assignments.outcomes import Done, Failed, Failure
from bursary.delivery import file_backend
from bursary.ops import retention, scheduler
from bursary.ops.models import ScheduledTask
from bursary.replica.models import ContentChange, ContentMetadata, RefreshTrigger
from tests.world import BOB, NOW, action_of, given_assignment, given_content

RETENTION = [task for task in scheduler.TASKS if task.name == retention.TASK]
A_DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def short_times(settings: Settings) -> None:
    settings.KEEP_MAILS, settings.KEEP_ATTEMPTS, settings.KEEP_CHANGES = A_DAY * 10, A_DAY * 20, A_DAY * 30


def finish(
    assignment: LearnerContentAssignment, outcome: Done | Failed, *, after: timedelta = timedelta(0)
) -> LearnerContentAssignmentAction:
    """Finish the assignment's notice so long after NOW, and return it."""
    pk = action_of(assignment, ActionType.NOTIFIED).pk
    (claimed,) = actions.claim(now=NOW + after, lease=timedelta(minutes=2), limit=1, pks=[pk])
    actions.finish(claimed, outcome, now=NOW + after)
    return action_of(assignment, ActionType.NOTIFIED)


def retain(*, after: timedelta) -> ScheduledTask:
    """Run the task so long after NOW, and return its row."""
    now = NOW + after
    assert scheduler.run_due(clock=partial(max, now, NOW), tasks=RETENTION) == ["retention"]
    return ScheduledTask.objects.get(name="retention")


def sent(text: str = "Dear Alice") -> Done:
    return Done(provider_ref="250 OK", payload={"subject": "A course", "text": text})


def failed() -> Failed:
    return Failed(Failure(ErrorReason.INTERNAL_API_ERROR, "internal_error", "It went wrong.", "Traceback…"))


def test_a_mail_is_kept_as_it_was_sent_for_as_long_as_the_setting_says() -> None:
    notice = finish(given_assignment(), sent())

    for after, text in ((A_DAY * 10, "Dear Alice"), (A_DAY * 11 + timedelta(minutes=1), None)):
        retain(after=after)
        notice.refresh_from_db()
        assert notice.payload.get("text") == text

    assert (notice.status, notice.completed_at, notice.provider_ref) == (Status.DONE, NOW, "250 OK")


def test_the_file_of_an_old_mail_is_removed_with_its_text(settings: Settings, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = file_backend.BACKEND, tmp_path
    old, recent = (
        finish(given_assignment(), sent()),
        finish(given_assignment(address=BOB), sent(), after=A_DAY * 5),
    )
    files = [tmp_path / f"{one.uuid}.eml" for one in (old, recent)]
    for file in files:
        file.write_text("Subject: A course\n")

    retain(after=A_DAY * 12)

    assert [file.exists() for file in files] == [False, True]


def test_the_log_of_attempts_and_the_stack_trace_end_and_the_cause_stays() -> None:
    notice = finish(given_assignment(), failed())
    assert notice.traceback
    for after, kept in ((A_DAY * 20, True), (A_DAY * 21 + timedelta(minutes=1), False)):
        retain(after=after)
        notice.refresh_from_db()
        assert bool(notice.traceback) is kept
        assert bool(notice.attempt_log) is kept
    assert (notice.error_code, notice.detail) == ("internal_error", "It went wrong.")


def test_unfinished_work_keeps_everything() -> None:
    assignment = given_assignment()
    open_work = action_of(assignment, ActionType.NOTIFIED)
    LearnerContentAssignmentAction.objects.filter(pk=open_work.pk).update(attempt_log=[{"error": "busy"}])

    retain(after=A_DAY * 400)

    assert action_of(assignment, ActionType.NOTIFIED).attempt_log == [{"error": "busy"}]


def test_a_run_continues_where_the_one_before_ended_and_rewrites_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "MAX_A_RUN", 1)
    first = finish(given_assignment(), sent("1"))
    second = finish(given_assignment(address=BOB), sent("2"), after=A_DAY)

    for after, texts in ((A_DAY * 12, [None, "2"]), (A_DAY * 13 + timedelta(hours=1), [None, None])):
        task = retain(after=after)
        for one in (first, second):
            one.refresh_from_db()
        assert [one.payload.get("text") for one in (first, second)] == texts
        assert task.summary["mails"] == 1

    assert retain(after=A_DAY * 15).summary["mails"] == 0


def test_a_run_that_fails_loses_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    finish(given_assignment(), sent())
    reached = retain(after=A_DAY * 12).summary["reached"]
    monkeypatch.setattr(idempotency, "delete_old", lambda **_: 1 / 0)

    task = retain(after=A_DAY * 14)

    assert (task.failures, task.summary["reached"]) == (1, reached)


def change(content: ContentMetadata, *, ago: timedelta = timedelta(0), field: str = "title") -> ContentChange:
    return ContentChange.objects.create(
        content=content, field=field, old="A", new="B", trigger=RefreshTrigger.values[0], created=NOW - ago
    )


def test_changes_of_content_are_kept_as_long_as_the_setting_says_and_longer_where_it_was_assigned() -> None:
    assigned, other = given_content(), given_content("Other+1")
    run = ContentMetadata.objects.get(content_key=assigned.advertised_run)
    given_assignment(content=assigned)
    old = [change(one, ago=A_DAY * 31) for one in (assigned, run, other)]
    membership = change(other, ago=A_DAY * 31, field="membership")
    recent = change(other, ago=A_DAY * 29)

    task = retain(after=timedelta(0))

    left = set(ContentChange.objects.values_list("pk", flat=True))
    assert left == {old[0].pk, old[1].pk, membership.pk, recent.pk}
    assert task.summary["changes"] == 1
