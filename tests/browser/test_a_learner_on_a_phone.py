"""A learner's day on a phone: open the mail's link, read, accept, see the confirmation; decline another."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from bursary.access.models import Role
from bursary.assignments import signed_links
from bursary.assignments.choices import State
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Budget
from tests import world
from tests.browser.visitor import HEIGHT, WIDTHS, Visitor
from tests.world import ALICE, state_of

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.takes_long,
]

LEAST = 44  # CSS pixels: what a finger hits


@pytest.fixture
def budget() -> Budget:
    return world.given_budget(customer=world.given_customer(contact_email="learning@larkspur.example"))


def given(budget: Budget, title: str) -> LearnerContentAssignment:
    now = timezone.now()
    content = world.given_content(
        title=title,
        partner_names="Riverside Institute",
        payload={"short_description": f"<p>All about {title}.</p>"},
        links={"marketing_url": "https://www.example-edx.org/tides"},
        start_date=now + timedelta(days=30),
        weeks_to_complete=5,
        pacing="self_paced",
    )
    return world.given_assignment(budget, content, now=now)


def link_of(assignment: LearnerContentAssignment) -> str:
    return f"/a/{signed_links.token_for(assignment, address=ALICE, now=timezone.now())}/"


def on_a_phone(visitor: Visitor, path: str) -> Page:
    visitor.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    return visitor.open(path)


def test_by_the_links_of_mails_one_course_is_accepted_and_another_declined(
    visitor: Visitor, budget: Budget
) -> None:
    tides, locks = given(budget, "Tides"), given(budget, "Locks")
    page = on_a_phone(visitor, link_of(tides))
    expect(page.get_by_text("All about Tides.")).to_be_visible()
    accept = page.get_by_role("button", name="Accept")
    box = accept.bounding_box()
    assert box is not None
    assert box["height"] >= LEAST
    assert box["y"] + box["height"] < HEIGHT  # seen without scrolling
    visitor.looks_over()

    page = on_a_phone(visitor, link_of(tides))
    accept.click()
    expect(page.get_by_role("heading", name="What happens now")).to_be_visible()
    expect(page.get_by_text("You have accepted this course.")).to_be_visible()
    expect(page.get_by_role("link", name="Go to the course")).to_be_visible()
    assert state_of(tides) == State.ACCEPTED
    visitor.looks_over()

    page = on_a_phone(visitor, link_of(locks))
    page.get_by_text("Decline instead").click()
    page.get_by_label("Your reason (optional)").fill("No time.")
    visitor.looks_over()
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_text("You declined this assignment.")).to_be_visible()
    assert state_of(locks) == State.CANCELLED
    visitor.looks_over()


def test_on_a_wide_screen_the_answer_and_the_course_begin_at_the_same_height(
    visitor: Visitor, budget: Budget
) -> None:
    page = visitor.open(link_of(given(budget, "Tides")))
    answer, about = (page.get_by_role("region", name=name) for name in ("Your answer", "About the course"))
    left, right = about.bounding_box(), answer.bounding_box()
    assert left is not None
    assert right is not None
    assert left["x"] < right["x"]
    assert left["y"] == right["y"]


def test_without_scripts_the_list_and_the_course_are_read_and_answered(
    reader: Visitor, budget: Budget
) -> None:
    tides = given(budget, "Tides")
    reader.sign_in(world.given_user(Role.LEARNER, customer=budget.customer, email=ALICE))
    page = on_a_phone(reader, "/courses/")
    page.get_by_role("link", name="Read and answer: Tides").click()
    expect(page.get_by_text("All about Tides.")).to_be_visible()
    expect(page.get_by_role("link", name="learning@larkspur.example")).to_be_visible()
    reader.click(page.get_by_role("button", name="Accept"))
    expect(page.get_by_text("You have accepted this course.")).to_be_visible()
    assert state_of(tides) == State.ACCEPTED
