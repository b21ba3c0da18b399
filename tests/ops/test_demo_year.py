"""The past year of the demonstration: some of its weeks, made from the sample catalog."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest
import time_machine
from django.db.models import Count
from django.utils import timezone
from pytest_django import Settings

from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.catalog.demo.shift import courses
from bursary.delivery import mail_server, runner
from bursary.ops import demo, demo_mail, demo_year
from bursary.ops.demo_year import DemoYear
from bursary.replica import refresh
from bursary.replica.models import CatalogMembership
from tests.world import given_budget, given_content, given_user

NOT_IN_IT = {
    *(ActionType.DELIVERED, ActionType.BOUNCED, ActionType.COMPLAINED),
    ActionType.RUN_CHANGED,
    *(ActionType.CANCELLED_ACKNOWLEDGED, ActionType.EXPIRED_ACKNOWLEDGED),
}
"""Mail providers report the first three, and there is none; acknowledgements are of the API's clients."""

pytestmark = [pytest.mark.django_db, pytest.mark.takes_long]


@pytest.fixture(autouse=True)
def one_day() -> Iterator[None]:
    """Stay on one day: which courses can be joined depends on it, and so does all that is drawn."""
    with time_machine.travel(datetime(2026, 11, 27, 12, tzinfo=UTC), tick=False):
        yield


def fewer_courses(*, now: datetime, slug: str) -> Iterator[dict[str, object]]:
    """Yield the sample's first courses: there are enough that can be assigned."""
    return islice(courses(now=now, slug=slug), 30)


def ignored(_done: int) -> None:
    """Take a count and do nothing with it."""


def of_each(field: str, **columns: object) -> dict[str, int]:
    rows = LearnerContentAssignmentAction.objects.filter(**columns).order_by()
    return dict(rows.values_list(field).annotate(Count("pk")))


def test_seven_weeks_have_every_state_failures_and_reminders_in_two_organisations_and_are_made_once(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "courses", fewer_courses)
    settings.VAR_DIR, settings.CATALOG_URL = tmp_path, f"file://{tmp_path / 'catalog'}/"
    sender = settings.EMAIL_BACKEND
    now = timezone.now()

    demo.load(now=now, on_progress=ignored, weeks=7)

    rows = LearnerContentAssignment.objects.all()
    assert {one.state for one in rows} == set(State)
    assert {one.budget.customer.name for one in rows.select_related("budget__customer")} == {
        "Larkspur Logistics",
        "Brightwater Health",
    }
    assert min(one.created for one in rows) > now - timedelta(weeks=7)
    done, failed = of_each("action_type", status=Status.DONE), of_each("error_code", status=Status.FAILED)
    assert {*ActionType} - NOT_IN_IT == set(done)
    assert failed["address_rejected"] > 1
    assert of_each("status", due_at__isnull=False, due_at__lt=now) == {}
    ending = rows.filter(budget__name=demo.ENDING, state=State.ALLOCATED)
    assert {one.expires_at <= now + demo.ENDS_IN for one in ending} <= {True}
    assert all(budget.reserved_cents >= 0 for budget in Budget.objects.all())
    for one in Budget.objects.select_related("customer"):
        links = CatalogMembership.objects.filter(catalog_uuid=one.catalog_uuid).values_list(
            "links", flat=True
        )
        assert {
            one.customer.slug in link["enrollment_url"] for link in links if "enrollment_url" in link
        } == {True}
    assert sender == settings.EMAIL_BACKEND

    counts = (rows.count(), LearnerContentAssignmentAction.objects.count())
    last_budget, later = Budget.objects.get(name=demo.ENDING), now + timedelta(days=200)
    assert last_budget.ends_at == now + demo.ENDS_IN
    terms.change(last_budget, now=now, terms={"ends_at": later})
    demo.load(now=timezone.now(), on_progress=ignored, weeks=7)
    assert (rows.count(), LearnerContentAssignmentAction.objects.count()) == counts
    assert Budget.objects.get(name=demo.ENDING).ends_at == later


def test_a_week_is_the_same_each_time(tmp_path: Path, settings: Settings) -> None:
    settings.VAR_DIR = tmp_path
    for dollars in range(50, 250, 10):
        given_content(price_cents=100 * dollars)
    budgets = [given_budget() for _time in range(2)]
    years = [DemoYear([budget], given_user(), "larkspur.example") for budget in budgets]

    demo_year.load(years, began=timezone.now(), weeks=1, on_progress=ignored)

    columns = ("learner_email", "content_key", "state", "allocated_at")
    first, second = (list(one.assignments.order_by("pk").values_list(*columns)) for one in budgets)
    assert first == second != []


def test_what_is_meant_to_fail_is_not_logged() -> None:
    loggers = [logging.getLogger(module.__name__) for module in (runner, mail_server)]
    with demo_mail.demonstration_mail():
        assert [one.isEnabledFor(logging.WARNING) for one in loggers] == [False, False]
    assert [one.isEnabledFor(logging.WARNING) for one in loggers] == [True, True]
