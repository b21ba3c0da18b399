"""Assigning a course to 25 learners, two of them mistyped, in a browser, until their mails are sent."""

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from bursary.access.models import Role, User
from bursary.assignments.models import AllocationBatch, LearnerContentAssignment
from bursary.budgets.models import Budget
from bursary.replica.models import ContentMetadata
from tests import world
from tests.browser.visitor import Visitor

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.takes_long,
]

PEOPLE = [f"learner-{number}@larkspur.example" for number in range(1, 24)]
MISTYPED = [*PEOPLE[:11], "kim.larkspur.example", *PEOPLE[11:], "lee@gmial.com"]
CORRECTED = [*PEOPLE[:11], "kim@larkspur.example", *PEOPLE[11:], "lee@gmail.com"]
LONG_NAME = "carmen.baptiste@larkspur.example"
MAX_TABS = 60


@pytest.fixture
def budget() -> Budget:
    """A budget for 30, and a catalog of two courses."""
    world.given_content(title="Tidal Engines", partner_names="Riverside")
    world.given_content(title="Bookkeeping", partner_names="Globe")
    return world.given_budget(seats=30, name="Languages")


@pytest.fixture
def ada(budget: Budget) -> User:
    return world.given_user(Role.ADMINISTRATOR, customer=budget.customer, username="ada")


def reach(page: Page, element: Locator) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(MAX_TABS):
        if element.evaluate("one => one === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"The focus does not come to {element}.")


def everyone_is_notified(page: Page) -> None:
    """Send the mails, and see the page say so without being loaded again."""
    page.wait_for_url("**/batches/**")
    expect(page.get_by_role("heading", name="0 of 25 learners are notified.")).to_be_visible()
    world.deliver(now=timezone.now(), limit=12)
    expect(page.get_by_role("heading", name="12 of 25 learners are notified.")).to_be_visible()
    world.deliver(now=timezone.now())
    expect(page.get_by_role("heading", name="25 of 25 learners are notified.")).to_be_visible()
    expect(page.get_by_text("All mails are sent.")).to_be_visible()
    expect(page.locator("#poller")).to_have_count(0)
    assert LearnerContentAssignment.objects.count() == 25


def test_25_learners_with_two_mistakes(visitor: Visitor, budget: Budget, ada: User) -> None:
    visitor.sign_in(ada)
    page = visitor.open(f"/budgets/{budget.uuid}/assign/")
    page.get_by_label("Part of the title").press_sequentially("tidal")
    expect(page.get_by_role("group", name="Bookkeeping")).to_have_count(0)
    page.get_by_label("The course: the learner chooses a run").check()
    page.get_by_label("E-mail addresses").fill("\n".join(MISTYPED))

    page.get_by_role("button", name="Assign", exact=True).click()
    refused = page.get_by_role("alert")
    expect(refused).to_contain_text("Line 12, “kim.larkspur.example”: It has no @.")
    preview = page.locator("#preview")
    page.get_by_label("A message of your own").fill("See")
    expect(preview.get_by_role("row", name="12 kim.larkspur.example It has no @.")).to_be_visible()
    expect(preview.get_by_role("row", name="25 lee@gmial.com")).to_contain_text("perhaps lee@gmail.com")
    expect(preview.get_by_role("row", name=PEOPLE[0])).to_be_hidden()
    visitor.looks_over()

    page.get_by_label("Part of the title").fill("book")
    expect(page.get_by_role("group", name="Bookkeeping")).to_be_visible()
    page.get_by_label("A message of your own").fill("See you there")
    expect(page.get_by_text("13 / 1000")).to_be_visible()
    page.get_by_label("E-mail addresses").fill("\n".join(CORRECTED).replace("kim@", "kim.at."))
    expect(refused.get_by_role("listitem")).to_have_text("Line 12, “kim.at.larkspur.example”: It has no @.")
    page.get_by_label("E-mail addresses").fill("\n".join(CORRECTED))
    expect(refused).to_have_count(0)
    button = page.get_by_role("button", name="Assign to 25 learners for $4,975.00")
    expect(button).to_be_visible()
    visitor.fits()
    button.dblclick()

    everyone_is_notified(page)
    assert AllocationBatch.objects.count() == 1


def test_25_learners_with_two_mistakes_by_keyboard_alone(visitor: Visitor, budget: Budget, ada: User) -> None:
    visitor.sign_in(ada)
    page = visitor.open(f"/budgets/{budget.uuid}/assign/")
    reach(page, page.get_by_label("Part of the title"))
    page.keyboard.type("tidal")
    expect(page.get_by_role("group", name="Bookkeeping")).to_have_count(0)
    reach(page, page.get_by_label("The course: the learner chooses a run"))
    page.keyboard.press("Space")
    reach(page, page.get_by_label("E-mail addresses"))
    page.keyboard.insert_text("\n".join(MISTYPED))
    expect(page.locator("#preview").get_by_role("row", name="12 kim.larkspur.example")).to_be_visible()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.insert_text("\n".join(CORRECTED))
    assign = page.get_by_role("button", name="Assign to 25 learners for $4,975.00")
    expect(assign).to_be_visible()
    reach(page, assign)
    page.keyboard.press("Enter")
    everyone_is_notified(page)


def test_enter_and_the_button_search_without_leaving_the_page(
    visitor: Visitor, budget: Budget, ada: User
) -> None:
    visitor.sign_in(ada)
    page = visitor.open(f"/budgets/{budget.uuid}/assign/")
    page.evaluate("window.isTheSame = true")
    page.get_by_label("Part of the title").press_sequentially("tidal")
    for _impatient in range(3):
        page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Bookkeeping")).to_have_count(0)
    page.get_by_label("Part of the title").fill("book")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("group", name="Tidal Engines")).to_have_count(0)
    expect(page.get_by_role("group", name="Bookkeeping")).to_be_visible()
    assert page.evaluate("window.isTheSame")


def test_the_page_of_a_request_with_all_that_can_be_on_it(
    visitor: Visitor, budget: Budget, ada: User
) -> None:
    content, now = ContentMetadata.objects.get(title="Bookkeeping"), timezone.now()
    world.allocate(budget, content, world.ALICE, now=now)
    learners = ("gone@learners.invalid", LONG_NAME, world.ALICE, world.ALICE, *PEOPLE)
    made = world.allocate(budget, content, *learners, message="Hello", now=now)
    world.deliver(now=now, limit=12)
    visitor.sign_in(ada)
    page = visitor.open(f"/batches/{made.batch.uuid}/")
    expect(page.get_by_role("link", name="Correct the address. gone@learners.invalid")).to_be_visible()
    expect(page.get_by_role("region", name="Not newly assigned")).to_contain_text(world.ALICE)
    page.get_by_text("The message to the learners").click()
    visitor.looks_over()


def test_without_scripts_nothing_typed_is_lost_and_the_preview_has_a_button(
    reader: Visitor, budget: Budget, ada: User
) -> None:
    reader.sign_in(ada)
    page = reader.open(f"/budgets/{budget.uuid}/assign/")
    page.get_by_label("E-mail addresses").fill("\n".join(MISTYPED))
    page.get_by_label("Part of the title").fill("tidal")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Bookkeeping")).to_have_count(0)
    page.get_by_label("The course: the learner chooses a run").check()
    reader.click(page.get_by_role("button", name="Preview"))
    expect(page.get_by_role("alert")).to_contain_text("Line 12, “kim.larkspur.example”: It has no @.")
    page.get_by_label("E-mail addresses").fill("\n".join(CORRECTED))
    reader.click(page.get_by_role("button", name="Preview"))
    assigning = page.get_by_role("button", name="Assign to 25 learners for $4,975.00")
    reader.press(assigning, until="**/batches/**")
    expect(page.get_by_role("heading", name="0 of 25 learners are notified.")).to_be_visible()


def test_on_a_wide_screen_the_preview_stands_below_the_list_and_beside_the_courses(
    visitor: Visitor, budget: Budget, ada: User
) -> None:
    visitor.sign_in(ada)
    page = visitor.open(f"/budgets/{budget.uuid}/assign/")
    names = ("1. Choose a course or a run", "2. Enter the learners", "Preview: nothing has changed")
    courses, people, preview = (page.get_by_role("region", name=name).bounding_box() for name in names)
    assert courses is not None
    assert people is not None
    assert preview is not None
    assert courses["x"] + courses["width"] < people["x"] == preview["x"]
    assert people["y"] + people["height"] < preview["y"] < people["y"] + people["height"] + 30


def test_a_file_that_is_dropped_is_read_into_the_list(visitor: Visitor, budget: Budget, ada: User) -> None:
    visitor.sign_in(ada)
    page = visitor.open(f"/budgets/{budget.uuid}/assign/")
    page.get_by_label("The course: the learner chooses a run").first.check()
    dropped = page.evaluate_handle(
        """text => { const data = new DataTransfer();
        data.items.add(new File([text], "people.csv", {type: "text/csv"})); return data; }""",
        "\n".join(MISTYPED),
    )
    page.locator("[data-drop]").dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.get_by_label("E-mail addresses")).to_have_value("\n".join(MISTYPED))
    expect(page.locator("#preview").get_by_role("row", name="12 kim.larkspur.example")).to_be_visible()
    assert page.locator("#file").evaluate("input => input.files.length") == 0
