"""Derived columns of the rules before an update are rewritten unasked, and nothing expires by them."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from bursary.access.models import Role
from bursary.assignments import derived, derived_audit
from bursary.assignments.choices import State
from bursary.assignments.models import AdministratorNotice, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.ops import rebuild_runs, scheduler
from bursary.ops.models import ScheduledTask
from tests.world import NOW, addresses, allocate, given_budget, given_content, given_user

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
TASKS = [one for one in scheduler.TASKS if one.name in ("rebuild", "expire")]


def tick(now: datetime) -> Mapping[str, object]:
    """Run what is due; return what rebuilding did."""
    scheduler.run_due(clock=lambda: now, tasks=TASKS)
    summary: Mapping[str, object] = ScheduledTask.objects.get(name="rebuild").summary
    return summary


def states() -> set[str]:
    return set(LearnerContentAssignment.objects.values_list("state", flat=True))


@pytest.fixture
def budget() -> Budget:
    """Return a budget with three assignments, made by rules that an update has changed."""
    budget = given_budget()
    given_user(Role.ADMINISTRATOR, customer=budget.customer)
    allocate(budget, given_content(enroll_by=NOW + 20 * DAY), *addresses(3))
    return budget


def by_other_rules(**columns: object) -> None:
    LearnerContentAssignment.objects.update(**columns)
    ScheduledTask.objects.filter(name="rebuild").update(summary={"rules": rebuild_runs.RULES - 1})


def test_what_the_rules_before_let_end_too_early_is_open_again_before_anything_expires(
    budget: Budget,
) -> None:
    now = NOW + DAY
    by_other_rules(expires_at=now - DAY / 2, content_enroll_by=now - DAY / 2)
    LearnerContentAssignment.objects.update(allocated_at=NOW, age_ends_at=NOW + 90 * DAY)

    done = tick(now)

    assert (done["finished"], done["rewritten"]) == (True, 3)
    assert states() == {State.ALLOCATED}
    assert derived_audit.audit(clock=lambda: now).differences == []


def test_what_the_rules_before_let_end_too_late_has_a_day_and_a_notice(budget: Budget) -> None:
    now = NOW + 21 * DAY  # the enrolment has closed
    by_other_rules(expires_at=NOW + 90 * DAY, content_enroll_by=NOW + 90 * DAY)

    tick(now)

    assert states() == {State.ALLOCATED}
    one = LearnerContentAssignment.objects.latest("pk")
    assert (one.expires_at, one.grace_until) == (NOW + 20 * DAY, now + DAY)
    notice = AdministratorNotice.objects.get(reason="")
    assert (notice.assignments, notice.no_expiry_before) == (3, now + DAY)
    tick(now + DAY / 2)
    assert states() == {State.ALLOCATED}


def test_it_goes_on_where_it_was_and_is_done_once_for_each_change_of_the_rules(
    budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_runs, "PART", 2)
    by_other_rules(content_title="before", expires_at=NOW)
    first, *_others = LearnerContentAssignment.objects.order_by("pk").values_list("pk", flat=True)

    done = tick(NOW + DAY)
    assert (done["finished"], done["rewritten"], done["last"]) == (False, 2, first + 1)
    assert states() == {State.ALLOCATED}  # the third is still as the rules before had it
    done = tick(NOW + DAY + timedelta(minutes=5))
    assert (done["finished"], done["rewritten"]) == (True, 3)

    LearnerContentAssignment.objects.update(content_title="a lie")
    assert tick(NOW + 2 * DAY) == done
    assert set(LearnerContentAssignment.objects.values_list("content_title", flat=True)) == {"a lie"}
    monkeypatch.setattr(rebuild_runs, "RULES", rebuild_runs.RULES + 1)
    assert tick(NOW + 3 * DAY)["rewritten"] == 2


def test_where_it_fails_the_rest_goes_on(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("The rules disagree.")

    monkeypatch.setattr(derived, "rebuild", fail)
    by_other_rules(content_title="before")

    tick(NOW + 20 * DAY)
    assert ScheduledTask.objects.get(name="rebuild").failures == 1
    assert states() == {State.EXPIRED}
