"""The due date on the page to assign: the end of a day where the organisation is, as the page says."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from bursary.assignments.choices import ExpiryReason
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests import world
from tests.dashboard.desk import Desk, nothing_was_done
from tests.world import ALICE, NOW, PRICE

pytestmark = pytest.mark.django_db

UNDERSTOOD = "Friday, 20 March 2026, 23:59 (Madrid time)"


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


def test_a_day_is_its_end_where_the_organisation_is_and_the_page_says_so(desk: Desk) -> None:
    content = world.given_content()

    preview = desk.preview(content, ALICE, due_date="2026-03-20")
    done = desk.assign(content, ALICE, due_date="2026-03-20")

    assert f"<dt>Due date</dt><dd>{UNDERSTOOD}</dd>" in preview
    assert f"<dd>{UNDERSTOOD}: the due date that was set.</dd>" in preview
    assert 'name="due_date" value="2026-03-20"' in preview
    assert f"The due date is {UNDERSTOOD}." in done
    assignment = LearnerContentAssignment.objects.get()
    assert assignment.due_date == assignment.expires_at == datetime(2026, 3, 20, 22, 59, 59, tzinfo=UTC)
    assert assignment.expires_reason == ExpiryReason.DUE_DATE


def test_a_time_is_that_time(desk: Desk) -> None:
    content = world.given_content()

    assert "20 March 2026, 12:00 (Madrid time)" in desk.assign(content, ALICE, due_date="2026-03-20T12:00")

    assert LearnerContentAssignment.objects.get().due_date == datetime(2026, 3, 20, 11, tzinfo=UTC)


@pytest.mark.parametrize(("due_date", "overruled"), [("2026-03-20", False), ("2026-05-20", True)])
def test_a_due_date_after_the_deadline_is_to_be_checked_first(
    desk: Desk, due_date: str, overruled: bool
) -> None:
    Budget.objects.update(ends_at=datetime(2026, 4, 1, 10, tzinfo=UTC))
    text = desk.preview(world.given_content(), ALICE, due_date=due_date)
    assert ("Check this first" in text) == overruled
    if overruled:
        assert "Your due date, Wednesday, 20 May 2026, 23:59 (Madrid time), is later than" in text
        assert "Wednesday, 1 April 2026, 12:00 (Madrid time): " in text
        assert text.index("Check this first") < text.index("<dt>Cost</dt>")


def test_without_a_due_date_none_is_set_or_mentioned(desk: Desk) -> None:
    content = world.given_content()
    assert 'type="date"' in desk.open()

    for text in (desk.preview(content, ALICE, due_date=""), desk.assign(content, ALICE, due_date=" ")):
        assert "<dt>Due date</dt>" not in text
        assert "The due date is" not in text

    assert LearnerContentAssignment.objects.get().due_date is None


def beside_the_field(text: str) -> str:
    """Return what stands between the label of the field and the field."""
    found = re.search(r'for="due_date">(.*?)<input type="date"', text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("button", ["preview", "assign"])
@pytest.mark.parametrize(
    ("due_date", "said"),
    [
        ("20.3.2026", "Give a date (2027-06-30), a date and time (2027-06-30T17:00)"),
        ("\0", "Give a date (2027-06-30), a date and time (2027-06-30T17:00)"),
        ("9999-12-31", "Give a date between the years 1900 and 8999."),
        (
            "2026-03-01",
            "The due date Sunday, 1 March 2026, 23:59 (Madrid time) has passed. Choose a later due date.",
        ),
    ],
)
def test_a_due_date_that_is_refused_is_said_beside_the_field_and_nothing_is_done(
    desk: Desk, budget: Budget, button: str, due_date: str, said: str
) -> None:
    content = world.given_content(title="Tidal Engines")

    text = desk.text(desk.press(button, content, ALICE, due_date=due_date))

    assert said in beside_the_field(text)
    assert '<a href="#due_date">' in text
    assert f'value="{PRICE} {content.content_key}" checked' in text
    assert nothing_was_done(budget)


def test_until_a_near_due_date_other_runs_count_and_their_price_is_shown(desk: Desk) -> None:
    content = world.given_content(with_run=False)
    soon, later = (
        world.given_run(
            content, f"course-v1:{content.content_key}+{name}", price_cents=cents, enroll_start=at
        )
        for name, cents, at in (("NOW", 5_000, NOW), ("LATER", PRICE, NOW + timedelta(days=30)))
    )
    assert content.advertised_run == later.content_key
    assert f'value="{PRICE} {content.content_key}"' in desk.open()

    text = desk.preview(content, ALICE, price=PRICE, due_date="2026-03-20")

    assert f'value="{soon.price_cents} {content.content_key}">' in text
    assert "The price was $199.00 when you chose it, and is $50.00 now." in text
    text = desk.preview(content, ALICE, price=soon.price_cents, due_date="2026-03-20")
    assert f'value="{soon.price_cents} {content.content_key}" checked' in text
    assert "Continue to “Assign”" in text
