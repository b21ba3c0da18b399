"""Only accounts that are marked are read, and none that changed is left unmarked."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from pytest_django import DjangoAssertNumQueries

from bursary.access.models import LINKING_PASSES, User
from bursary.assignments import account_linking, redemption
from bursary.assignments.models import LearnerContentAssignment
from bursary.assignments.sweeps import SweepResult
from bursary.budgets import ledger
from bursary.ops import scheduler
from bursary.ops.models import ScheduledTask
from tests.world import ALICE, BOB, NOW, deliver, given_assignment, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
PERSON = 7001


def linking_passes_left() -> list[int | None]:
    return list(User.objects.order_by("pk").values_list("linking_passes_left", flat=True))


def test_with_nothing_new_a_run_reads_no_user(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    User.objects.bulk_create(
        User(username=f"user-{number}", lms_user_id=number, linking_passes_left=None)
        for number in range(2_000)
    )
    with django_assert_num_queries(1) as asked:
        assert account_linking.link_registered_users(now=NOW) == SweepResult()
    if connection.vendor == "postgresql":
        sql = asked.captured_queries[0]["sql"]
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE access_user")
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Index" in plan, plan
        assert "looks_left" in plan.partition("Scan")[2], plan
        assert "Sort" not in plan, plan


def test_an_assignment_that_is_committed_late_is_found_all_the_same() -> None:
    given_user(email=ALICE, lms_user_id=PERSON)
    assert account_linking.link_registered_users(now=NOW).done == 0
    assignment = given_assignment()
    LearnerContentAssignment.objects.update(lms_user_id=None)  # its request did not see the account
    assert account_linking.link_registered_users(now=NOW).done == 1
    assignment.refresh_from_db()
    assert assignment.lms_user_id == PERSON


def test_an_account_is_read_several_times_after_each_change_and_then_no_more() -> None:
    user = given_user(email=ALICE, lms_user_id=PERSON)
    for left in (*range(LINKING_PASSES - 1, 0, -1), None, None):
        account_linking.link_registered_users(now=NOW)
        assert linking_passes_left() == [left]
    user.refresh_from_db()

    user.first_name = "Alice"
    user.save(update_fields=["first_name"])
    assert linking_passes_left() == [None]
    user.email = BOB
    user.save(update_fields=["email"])
    assert linking_passes_left() == [LINKING_PASSES]
    User.objects.update(linking_passes_left=None)
    user.lms_user_id = PERSON + 1
    user.save(update_fields=["lms_user_id"])
    assert linking_passes_left() == [LINKING_PASSES]
    User.objects.update(linking_passes_left=None)
    User.objects.update(lms_user_id=PERSON)
    assert linking_passes_left() == [LINKING_PASSES]


def test_an_account_is_read_as_long_as_something_of_its_is_redeemed_or_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget, content = given_budget(), given_content()
    learner = given_user(email=BOB, lms_user_id=PERSON)
    older = given_assignment(budget, content, address=BOB)
    given_assignment(budget, content, address=ALICE, now=NOW + DAY)
    redemption.begin(older, now=NOW + DAY)
    learner.email = ALICE
    learner.save()
    for _pass in range(LINKING_PASSES + 1):
        assert account_linking.link_registered_users(now=NOW + 2 * DAY) == SweepResult()
    deliver(now=NOW + 2 * DAY)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "lock", _raise(OperationalError("away")))
        for _pass in range(LINKING_PASSES + 1):
            assert len(account_linking.link_registered_users(now=NOW + 2 * DAY).failed) == 1
    assert account_linking.link_registered_users(now=NOW + 3 * DAY) == SweepResult(done=1)


def test_an_account_that_was_not_marked_is_found_by_the_daily_task() -> None:
    given_assignment()
    given_user(email=ALICE, lms_user_id=PERSON)
    User.objects.update(linking_passes_left=None)
    assert account_linking.link_registered_users(now=NOW) == SweepResult()
    scheduler.run_due(clock=lambda: NOW, tasks=[task for task in scheduler.TASKS if task.name == "link"])
    assert ScheduledTask.objects.get(name="link").summary == {"linked": 1}


def _raise(error: Exception) -> Callable[..., object]:
    def broken(*_more: object, **_named: object) -> object:
        raise error

    return broken
