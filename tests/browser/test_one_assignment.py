"""An administrator's journeys from one assignment's page: an address is repaired, a deadline extended."""

from datetime import timedelta
from itertools import product

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone
from playwright.sync_api import expect

from bursary.access.models import Role
from bursary.assignments import reminders
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment
from bursary.dashboard.life_steps import MAX_STEPS
from tests import world
from tests.browser.visitor import Visitor

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.takes_long,
]

MEASURED = """() => [...document.querySelectorAll('.life-steps li')].map(step => {
    const box = step.getBoundingClientRect(), text = step.querySelector('strong').getBoundingClientRect();
    const start = getComputedStyle(step).direction === 'rtl' ? box.right - text.right : text.left - box.left;
    return {top: Math.round(box.top), beside: Math.round(start), below: Math.round(text.top - box.top),
        cut: step.scrollWidth > step.clientWidth};
})"""
"""Of each step: how far its text stands from its dot, which is drawn where the step begins."""
WRONG, RIGHT = "alice@nowhere.invalid", "alice@people.example"


def tried(address: str, visitor: Visitor) -> LearnerContentAssignment:
    """Return an assignment of yesterday of which the invitation was tried; its administrator is signed in."""
    yesterday = timezone.now() - timedelta(days=1)
    row = world.given_assignment(address=address, now=yesterday)
    world.deliver(now=yesterday)
    visitor.sign_in(world.given_user(Role.ADMINISTRATOR, customer=row.budget.customer, username="ada"))
    return row


def test_a_bounced_address_is_repaired_and_the_mail_goes_out(
    visitor: Visitor, mailoutbox: list[EmailMessage]
) -> None:
    row = tried(WRONG, visitor)
    page = visitor.open(f"/assignments/{row.uuid}/")
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline).to_contain_text(f"The invitation to {WRONG} failed: the address does not exist.")

    timeline.get_by_role("link", name="Correct the address").click()
    field = page.get_by_label("New e-mail address")
    field.fill("alice at people")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Correct the new address.")
    visitor.trouble.clear()  # the browser reports the answer 422
    visitor.looks_over()
    field.fill(RIGHT)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"the invitation goes to {RIGHT}")
    expect(timeline).to_contain_text(f"The invitation to {RIGHT} is about to be sent.")
    expect(page.get_by_text("Being notified", exact=True)).to_be_visible()
    correct = page.get_by_role("link", name="Correct the address")
    correct.focus()

    world.deliver(now=timezone.now())
    expect(timeline).to_contain_text(f"The invitation to {RIGHT} was sent.")
    expect(page.get_by_text("Waiting", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Remind")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text(f"the invitation goes to {RIGHT}")
    expect(page.locator("#poller")).to_have_count(0)
    expect(correct).to_be_focused()
    assert [mail.to for mail in mailoutbox] == [[RIGHT]]
    timeline.get_by_text("The mail as it was sent").click()
    expect(timeline.locator("pre")).to_contain_text("Tidal Engines")
    visitor.looks_over()


def test_what_is_unfolded_stays_so_while_a_reminder_is_followed(visitor: Visitor) -> None:
    row = tried(RIGHT, visitor)
    page = visitor.open(f"/assignments/{row.uuid}/")
    timeline = page.get_by_role("region", name="Timeline")
    page.get_by_role("button", name="Remind").click()
    expect(timeline).to_contain_text(f"A reminder to {RIGHT} is about to be sent.")
    expect(page.locator("#poller")).to_be_visible()
    visitor.looks_over()
    timeline.get_by_text("The mail as it was sent").click()
    world.deliver(now=timezone.now())
    expect(timeline).to_contain_text(f"A reminder to {RIGHT} was sent.")
    expect(timeline.locator("pre").last).to_be_visible()


def test_a_deadline_is_extended_nothing_is_cancelled_and_a_failure_is_skipped(visitor: Visitor) -> None:
    row = tried(world.ALICE, visitor)
    page = visitor.open(f"/assignments/{row.uuid}/")
    visitor.press(page.get_by_role("link", name="Extend the deadline"), until="**/extend/")
    day = timezone.now() + timedelta(days=200)
    page.get_by_label("New deadline").fill(f"{day:%Y-%m-%d}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text(f"{day.day} {day:%B %Y}, 23:59 (Madrid time)")
    expect(page.get_by_role("region", name="Timeline")).to_contain_text("The deadline was extended.")
    row.refresh_from_db()
    assert row.extended_until == row.expires_at

    page.get_by_role("link", name="Cancel").click()
    expect(page.get_by_text("$199.00 is free again in Skills, at once.")).to_be_visible()
    visitor.press(page.get_by_role("link", name="No, back"), until=f"**/assignments/{row.uuid}/")
    row.actions.filter(action_type=ActionType.NOTIFIED).update(
        status="failed", error_reason="internal_api_error", error_code="message_refused"
    )
    page.reload()
    visitor.press(page.get_by_role("link", name="Skip", exact=True), until="**/skip/**")
    page.get_by_label("Reason").fill("Asked by phone")
    page.get_by_role("button", name="Skip").click()
    expect(page.get_by_role("status")).to_contain_text("It is skipped")


def test_each_step_of_its_life_stands_at_its_own_dot(visitor: Visitor, subtests: pytest.Subtests) -> None:
    row = tried(RIGHT, visitor)
    for hours in range(12):
        at = row.allocated_at + timedelta(hours=hours + 1)
        reminders.remind(row.budget, uuids=[row.uuid], now=at)
        world.deliver(now=at)
    page = visitor.open(f"/assignments/{row.uuid}/")
    for direction, (width, rows) in product(("ltr", "rtl"), ((360, MAX_STEPS + 2), (768, 2), (1440, 1))):
        page.evaluate("direction => { document.documentElement.dir = direction }", direction)
        page.set_viewport_size({"width": width, "height": 900})
        with subtests.test(f"{direction} {width}"):
            steps = page.evaluate(MEASURED)
            assert len(steps) == MAX_STEPS + 2  # and today, and the deadline
            assert len({step["top"] for step in steps}) == rows
            beside, below = (32, 0) if width == 360 else (0, 28)
            assert {(step["beside"], step["below"]) for step in steps} == {(beside, below)}
            assert not any(step["cut"] for step in steps)


def test_the_page_is_read_without_scripts(reader: Visitor) -> None:
    row = tried(WRONG, reader)
    row.actions.filter(action_type=ActionType.NOTIFIED).update(error_code="message_refused")
    page = reader.open(f"/assignments/{row.uuid}/")

    steps = page.get_by_role("region", name="So far").get_by_role("listitem")
    expect(steps.locator("strong")).to_have_text(["Assigned", "Notifying failed", "Today", "Deadline"])
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("It is tried again now.")
