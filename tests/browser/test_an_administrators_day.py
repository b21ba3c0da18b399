"""Journeys of an administrator, by keyboard alone: learners are reminded, and a list becomes a file."""

import csv
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from bursary.access.models import Role
from bursary.assignments import cancellation, declining, redemption
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets import terms
from bursary.budgets.models import Budget
from bursary.dashboard import bulk_work
from tests import world
from tests.browser.visitor import HEIGHT, WIDTHS, Visitor

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.takes_long,
]

COUNT = 5
MAX_TABS = 120


@pytest.fixture
def budget(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> Budget:
    """A budget with learners, of which one could not be notified; its administrator is signed in."""
    budget = world.given_budget(name="Languages")
    content = world.given_content(title="Tidal Engines", partner_names="Riverside University")
    world.allocate(budget, content, *world.addresses(COUNT), "leo@nowhere.invalid")
    world.deliver()
    monkeypatch.setattr(timezone, "now", lambda: world.NOW + timedelta(days=2))
    visitor.sign_in(world.given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada"))
    return budget


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the element has the focus."""
    element = target.element_handle()
    for _ in range(MAX_TABS):
        page.keyboard.press("Tab")
        if element.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"the keyboard does not reach {target}")


def test_the_learners_that_have_not_reacted_are_found_and_reminded(
    visitor: Visitor, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_work, "BATCH", 2)
    done = LearnerContentAssignment.objects.order_by("pk")[0]
    cancellation.cancel(budget, uuids=[done.uuid], now=world.NOW)
    page = visitor.open("/assignments/")

    tab_to(page, page.get_by_role("navigation", name="Status").get_by_role("link", name="Waiting"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("row")).to_have_count(COUNT)  # the heading, and one less than there were
    tab_to(page, page.get_by_label("all 4 that the filter finds"))
    page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Remind"))
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Remind the learners of 4 assignments?")).to_be_visible()
    visitor.looks_over()
    page.keyboard.press("Enter")  # the button has the focus

    expect(page.get_by_role("status")).to_have_text("Reminded: 4")  # after two steps, without a key
    visitor.looks_over()
    reminded = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED)
    assert reminded.count() == 4
    assert not reminded.filter(assignment=done).exists()
    page.reload()
    expect(page.get_by_role("status")).to_have_text("Reminded: 4")
    tab_to(page, page.get_by_role("link", name="Back to the list"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{visitor.origin}/assignments/?status=waiting")
    visitor.go_back()
    expect(page.get_by_role("status")).to_have_text("Reminded: 4")
    page.evaluate("history.back()")  # to the question, which is answered, and leads on before it is loaded
    expect(page).to_have_url(f"{visitor.origin}/assignments/?status=waiting")
    assert reminded.count() == 4


def test_on_a_phone_every_status_is_seen_and_a_date_is_called_the_deadline_only_where_it_is(
    visitor: Visitor, budget: Budget
) -> None:
    accepted, declined, cancelled, *_open = LearnerContentAssignment.objects.order_by("pk")
    redemption.fulfil(redemption.begin(accepted, now=world.NOW), now=world.NOW)
    declining.decline(declined, reason="No time", now=world.NOW)
    cancellation.cancel(budget, uuids=[cancelled.uuid], now=world.NOW)
    page = visitor.page
    page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    visitor.open("/assignments/?status=cancelled")

    for name in ("All", "Not notified", "Waiting", "Accepted", "Declined", "Cancelled"):
        link = page.get_by_role("navigation", name="Status").get_by_role("link", name=name)
        expect(link).to_be_in_viewport(ratio=1)
    labels = (
        "rows => rows.map(row => [...row.querySelectorAll('[data-label]')].map(one => one.dataset.label))"
    )
    (ended,) = page.locator("tbody tr").evaluate_all(labels)
    assert ended == ["Course", "Price", "Status", "Assigned or reminded", "Start"]
    visitor.open("/assignments/?status=waiting")
    assert "Deadline" in page.locator("tbody tr").evaluate_all(labels)[0]


def test_on_a_phone_the_list_is_sorted_and_all_of_a_page_are_selected(
    visitor: Visitor, budget: Budget
) -> None:
    visitor.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    page = visitor.open("/assignments/")
    visitor.press(page.get_by_role("link", name="Learner", exact=True), until="**sort=learner_email")
    expect(page.locator("tbody tr").first).to_contain_text("learner-0@")
    page.get_by_label("Select every assignment on this page").check()
    expect(page.get_by_text(f"Selected: {COUNT + 1}")).to_be_visible()


def test_from_a_ticked_row_the_keyboard_skips_to_the_actions_and_going_back_keeps_the_count(
    visitor: Visitor, budget: Budget
) -> None:
    page = visitor.open("/assignments/")
    page.get_by_role("table").get_by_role("checkbox").nth(1).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    visitor.looks_over()
    expect(page.get_by_role("link", name="To the actions")).to_be_focused()  # of the ticked row alone
    for key in ("Enter", "Tab", "Tab"):
        page.keyboard.press(key)
    expect(page.get_by_role("button", name="Remind")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Remind the learner of one assignment?")).to_be_visible()
    visitor.go_back()
    expect(page.get_by_text("Selected: 1")).to_be_visible()


def test_many_deadlines_become_later_each_by_two_weeks_and_a_cut_is_asked_about(
    visitor: Visitor, budget: Budget
) -> None:
    terms.change(budget, now=world.NOW, terms={"ends_at": world.NOW + timedelta(days=100)})
    page = visitor.open("/assignments/?status=waiting")
    page.get_by_label("that the filter finds").check()
    visitor.press(page.get_by_role("button", name="Extend"), until="**/assignments/selected/*/")
    page.get_by_role("button", name="+2 weeks").click()
    expect(page.get_by_role("alert")).to_contain_text("5 of them are extended by less than that")
    visitor.looks_over()
    page.get_by_role("button", name="Extend as far as that").click()

    expect(page.get_by_role("status")).to_have_text("Extended: 5")
    expect(page.get_by_text("its budget ends then.").first).to_be_visible()


def test_the_page_of_totals_is_followed_by_its_sums(visitor: Visitor, budget: Budget) -> None:
    page = visitor.open(f"/assignments/totals/?status=waiting&budget={budget.uuid}")

    expect(page.get_by_role("status")).to_have_text("5 assignments · $995.00")
    expect(page.get_by_role("region", name="By budget")).to_contain_text("Languages")
    expect(page.locator("[aria-busy]")).to_have_count(0)


def test_what_the_filter_finds_is_saved_as_a_file_with_the_right_rows(
    visitor: Visitor, budget: Budget, tmp_path: Path
) -> None:
    page = visitor.open("/assignments/?status=failed")
    tab_to(page, page.get_by_role("link", name="Export all"))
    assert [row["Learner"] for row in saved(page, tmp_path)] == ["leo@nowhere.invalid"]

    page = visitor.open("/assignments/?sort=learner_email")
    for number in (1, 3):
        tab_to(page, page.get_by_label(f"Select learner-{number}@learners.example"))
        page.keyboard.press("Space")
    tab_to(page, page.get_by_role("button", name="Export"))
    rows = saved(page, tmp_path)

    assert [row["Learner"] for row in rows] == ["learner-1@learners.example", "learner-3@learners.example"]
    assert {(row["Course"], row["Status"]) for row in rows} == {("Tidal Engines", "Waiting")}


def saved(page: Page, folder: Path) -> list[dict[str, str]]:
    """Press Enter, and return the rows of the file that is saved."""
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == f"assignments-{world.NOW + timedelta(days=2):%Y-%m-%d}.csv"
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))
