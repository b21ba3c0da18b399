"""Derived columns that are not true are found by a rule written twice, and written anew."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, transaction

from bursary.assignments import (
    actions,
    administrator_notices,
    cancellation,
    declining,
    derived_audit,
    expected_values,
    redemption,
    reminders,
)
from bursary.assignments.choices import ActionType, ExpiryReason, LearnerState
from bursary.assignments.derived_audit import DerivedAudit, RebuildResult
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.lib.moments import FAR_FUTURE
from bursary.replica.models import ContentMetadata
from bursary.replica.refresh import content_changed
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    BOB,
    CAROL,
    NOW,
    action_of,
    addresses,
    allocate,
    deliver,
    given_assignment,
    given_budget,
    given_content,
)

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]
DAY = timedelta(days=1)
SOON, START, ENDED = NOW + 20 * DAY, NOW + 40 * DAY, NOW - DAY


def audit(*, day: float = 0, **more: Any) -> DerivedAudit:
    return derived_audit.audit(clock=lambda: NOW + day * DAY, **more)


def rebuild(**more: Any) -> RebuildResult:
    return derived_audit.rebuild(clock=lambda: NOW, **more)


def plant(assignment: LearnerContentAssignment, **columns: object) -> None:
    """Write columns past the code that keeps them true."""
    LearnerContentAssignment.objects.filter(pk=assignment.pk).update(**columns)


def accept(assignment: LearnerContentAssignment, *, day: float) -> None:
    """Accept it, whatever else is on its way."""
    now = NOW + day * DAY
    redemption.fulfil(redemption.begin(assignment, now=now), now=now)


@pytest.fixture
def assignment(mail: MailServer) -> LearnerContentAssignment:
    """Return an open assignment with a notified learner."""
    made = given_assignment(content=given_content(enroll_by=SOON, start_date=START, title="Straße"))
    deliver()
    return made


@pytest.mark.on_every_engine
@pytest.mark.django_db(transaction=True)
def test_a_batch_is_rewritten_again_after_a_deadlock(
    assignment: LearnerContentAssignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(assignment, content_title="a lie")
    write_for_budgets, titles = administrator_notices.write_for_budgets, []

    def deadlocked(**of: Any) -> None:
        titles.append(LearnerContentAssignment.objects.get().content_title)
        if len(titles) == 1:
            raise OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")
        write_for_budgets(**of)

    monkeypatch.setattr(administrator_notices, "write_for_budgets", deadlocked)

    assert (rebuild().before.wrong, audit().wrong) == (1, 0)
    assert titles == ["strasse"] * 2


@pytest.mark.on_every_engine
def test_what_every_writer_writes_is_true_over_a_whole_life(mail: MailServer) -> None:
    """Notified, rejected, reminded, moved by budget and catalog, accepted, cancelled, assigned again."""
    budget, content = given_budget(), given_content(enroll_by=SOON, start_date=START)
    allocate(budget, content, ALICE, BOB, CAROL, "nobody@nowhere.invalid")
    assert audit().wrong == 0
    for day in (0, 8, 13.5):
        reminders.remind_due(now=NOW + day * DAY)
        reminders.nudge_due(now=NOW + day * DAY)
        deliver(now=NOW + day * DAY)
        assert audit(day=day).differences == []
        assert audit(day=day + 1).differences == []

    with transaction.atomic():
        ContentMetadata.objects.update(enroll_by=SOON + 9 * DAY, start_date=START - 5 * DAY, title="Other")
        content_changed.send(sender=ContentMetadata, pks=[content.pk], now=NOW + 14 * DAY)
    terms.change(budget, now=NOW + 14 * DAY, terms={"allocation_age_days": 25})
    alice, bob = LearnerContentAssignment.objects.filter(learner_email__in=[ALICE, BOB]).order_by("pk")
    accept(alice, day=15)
    cancellation.cancel(budget, uuids=[bob.uuid], now=NOW + 15 * DAY)
    deliver(now=NOW + 15 * DAY)
    allocate(budget, content, BOB, now=NOW + 16 * DAY)
    assert audit(day=16).differences == []
    assert audit(day=34).looked_at == 4
    assert audit(day=34).differences == []


def test_an_assignment_accepted_before_the_mail_is_checked_for_nudges_nevertheless(mail: MailServer) -> None:
    assignment = given_assignment(content=given_content(start_date=NOW + 3 * DAY))
    reminders.nudge_due(now=NOW + 2.1 * DAY)  # not notified yet: not checked again until then
    assignment.refresh_from_db()
    assert assignment.nudge_at == FAR_FUTURE

    accept(assignment, day=2.2)

    assert audit(day=2.3).differences == []
    assert reminders.nudge_due(now=NOW + 2.3 * DAY).done == 1


LIES = [
    ("age_ends_at", SOON, NOW + 90 * DAY),
    ("expires_at", SOON + DAY, SOON),
    ("expires_reason", ExpiryReason.BUDGET_END, ExpiryReason.ENROLL_BY),
    ("learner_state", LearnerState.FAILED, LearnerState.WAITING),
    ("recent_action_at", NOW + DAY, NOW),
    ("content_title", "straße", "strasse"),
    ("content_start", FAR_FUTURE, START),
    ("content_enroll_by", SOON - DAY, SOON),
    ("remind_at", FAR_FUTURE, NOW + 7 * DAY),
    ("nudge_at", START, START - 7 * DAY),
]


@pytest.mark.on_every_engine
def test_a_lie_in_any_column_is_found_and_put_right(
    assignment: LearnerContentAssignment, subtests: pytest.Subtests
) -> None:
    for column, lie, true in LIES:
        with subtests.test(column):
            assert audit().differences == []
            plant(assignment, **{column: lie})

            [found] = audit().differences
            assert (found.assignment, found.column, found.stored, found.expected) == (
                assignment.uuid,
                column,
                lie,
                true,
            )

            done = rebuild()
            assert (done.before.wrong, done.after.wrong, done.last) == (1, 0, assignment.pk)
            assignment.refresh_from_db()
            if column in ("remind_at", "nudge_at"):
                assert getattr(assignment, column) <= true
            else:
                assert getattr(assignment, column) == true
            assert audit().wrong == 0


def test_a_dry_run_counts_and_writes_nothing(assignment: LearnerContentAssignment) -> None:
    plant(assignment, content_title="a lie")

    done = rebuild(dry_run=True)

    assert (done.before.wrong, done.before.columns) == (1, {"content_title": 1})
    assert audit().wrong == 1


@pytest.mark.on_every_engine
def test_what_is_over_keeps_its_last_deadline_and_still_sorts_by_its_content(
    assignment: LearnerContentAssignment,
) -> None:
    cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    plant(assignment, expires_at=ENDED, age_ends_at=ENDED, remind_at=NOW, content_title="a lie")

    assert audit().columns == {"content_title": 1}
    rebuild()
    assignment.refresh_from_db()
    assert (assignment.content_title, assignment.expires_at) == ("strasse", ENDED)


@pytest.mark.on_every_engine
def test_without_content_what_was_known_counts(assignment: LearnerContentAssignment) -> None:
    plant(assignment, content=None, content_enroll_by=SOON - DAY)

    assert {one.column for one in audit().differences} == {"expires_at"}
    rebuild()
    assignment.refresh_from_db()
    assert (assignment.expires_at, assignment.content_title) == (SOON - DAY, "strasse")


@pytest.mark.on_every_engine
def test_a_deadline_that_is_put_right_into_the_past_has_its_grace(
    assignment: LearnerContentAssignment,
) -> None:
    ContentMetadata.objects.update(enroll_by=ENDED)  # without a signal

    rebuild()

    assignment.refresh_from_db()
    assert (assignment.expires_at, assignment.grace_until) == (ENDED, NOW + DAY)
    assert AdministratorNotice.objects.get().assignments == 1


def test_a_retried_failure_and_a_later_reminder_are_reckoned(mail: MailServer) -> None:
    assignment = given_assignment(address="nobody@nowhere.invalid")
    deliver()
    assert audit().wrong == 0
    actions.retry(action_of(assignment, ActionType.NOTIFIED), now=NOW)
    assert audit().wrong == 0
    plant(assignment, learner_state=LearnerState.FAILED)
    assert audit().columns == {"learner_state": 1}


def test_what_was_declined_in_this_cycle_is_followed_as_declined() -> None:
    assignment = given_assignment()
    declining.decline(assignment, reason="", now=NOW)
    assert audit().wrong == 0
    plant(assignment, learner_state=LearnerState.NONE)
    assert audit().columns == {"learner_state": 1}

    rebuild()

    assignment.refresh_from_db()
    assert assignment.learner_state == LearnerState.DECLINED


def test_an_actions_change_during_the_comparison_is_no_difference(
    assignment: LearnerContentAssignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(assignment, content_title="a lie")
    compare = expected_values.compare

    def meanwhile(*args: Any, **more: Any) -> list[expected_values.DerivedDifference]:
        found = compare(*args, **more)
        plant(assignment, content_title="strasse")
        return found

    monkeypatch.setattr(expected_values, "compare", meanwhile)
    assert audit().wrong == 0


def test_a_rule_that_sql_does_not_share_is_not_hidden_by_rebuilding(
    assignment: LearnerContentAssignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected_values, "_recent_action_at", lambda *_args: SOON)

    done = rebuild()

    assert (done.before.wrong, done.after.columns) == (1, {"recent_action_at": 1})


@pytest.mark.on_every_engine
def test_only_a_sample_or_one_budget_is_looked_at_or_what_comes_after_a_key() -> None:
    content, one, other = given_content(), given_budget(), given_budget()
    allocate(one, content, *addresses(5))
    allocate(other, content, *addresses(3))
    pks = list(LearnerContentAssignment.objects.order_by("pk").values_list("pk", flat=True))
    LearnerContentAssignment.objects.update(content_title="a lie")

    assert audit(sample=4).wrong == 4
    assert audit(sample=100).wrong == 8
    assert audit(budget=other).wrong == 3
    assert audit(budget=other, sample=2).wrong == 2
    done = rebuild(after=pks[5])
    assert (done.before.wrong, done.last, audit().wrong) == (2, pks[-1], 6)
    rebuild(budget=Budget.objects.get(pk=one.pk))
    assert audit().wrong == 1


@pytest.mark.on_every_engine
def test_a_batch_is_written_with_a_bounded_number_of_statements(
    django_assert_max_num_queries: MaxQueries,
) -> None:
    allocate(given_budget(), given_content(), *addresses(100))
    allocate(given_budget(), given_content(), *addresses(90))
    LearnerContentAssignment.objects.update(content_title="a lie")

    with django_assert_max_num_queries(32):
        assert rebuild().before.wrong == 190
    assert audit().wrong == 0
