"""What holds for every page, in a browser: readable by all, at every size, and from this origin alone."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Response, expect

from bursary.access.models import Role, User
from bursary.api import docs
from bursary.assignments import cancellation, declining, redemption, signed_links, unsubscribing
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.config import lockouts
from bursary.dashboard import views
from tests import world
from tests.browser.visitor import HEIGHT, IN_FULL, WIDTHS, Visitor
from tests.world import ALICE

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.takes_long,
]

ORGANISATION = "Larkspur County Hospitals and Care Homes"
WIDE = "Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesellschaft"
PASS_PHRASE = "a pass phrase of ada's"
COLOUR = "one => getComputedStyle(one).color"
KEEP = """document.forms[0].insertAdjacentHTML(
    "beforeend", '<input type="hidden" name="kept-addresses" value="ben@people.example">')"""
"""What a form that was sent without a session adds to the page to sign in."""
A_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REFUSED, PLAIN = "ben@nowhere.invalid", "carol@learners.example"


class Scene(NamedTuple):
    """An organisation with something on each of its pages."""

    ada: User
    alice: User
    of_administrators: list[str]
    of_learners: list[str]
    """Addresses of pages, each without what comes before its path."""


@pytest.fixture
def scene() -> Scene:
    now = timezone.now()
    customer = world.given_customer(name=ORGANISATION, contact_email="learning@larkspur.example")
    budget = world.given_budget(name="Languages", customer=customer, seats=60)
    content = world.given_content(title="Tidal Engines", partner_names="Riverside University")
    earlier = now - timedelta(days=20)
    world.allocate(budget, content, *world.addresses(4), ALICE, now=earlier)
    world.deliver(now=earlier)
    rows = list(LearnerContentAssignment.objects.order_by("pk"))
    move_on(rows, now=earlier + timedelta(days=2))
    done = world.allocate(
        budget, content, REFUSED, PLAIN, *world.addresses(2, start=4), ALICE, message="Hello", now=now
    )
    world.deliver(now=now, limit=4)
    failed = LearnerContentAssignment.objects.get(learner_email=REFUSED)
    action = failed.actions.get(action_type=ActionType.NOTIFIED, status=Status.FAILED)
    case, own = f"/assignments/{failed.uuid}", rows[-1]
    unsubscribe = f"/u/{unsubscribing.token_for(action, now=now)}/"
    return Scene(
        world.given_user(Role.ADMINISTRATOR, customer=customer, username="ada"),
        world.given_user(Role.LEARNER, customer=customer, email=ALICE),
        [
            *("/", "/budgets/", "/assignments/", "/assignments/?status=failed&search=nowhere", "/account/"),
            *(f"/assignments/totals/{more}?status=failed" for more in ("", "sums/")),
            *(f"/budgets/{budget.uuid}/{more}" for more in ("", "spent/", "assign/")),
            *(f"/batches/{done.batch.uuid}/", *(f"/assignments/{one.uuid}/" for one in rows)),
            *(f"{case}/", f"{case}/extend/", f"{case}/cancel/", f"{case}/correct-address/"),
            f"{case}/revoke-links/",
            *(f"{case}/{remedy}/?action={action.uuid}" for remedy in ("retry", "skip")),
            "/account/password/",
        ],
        [
            *("/courses/", f"/assignments/{own.uuid}/", unsubscribe),
            f"/a/{signed_links.token_for(own, address=ALICE, now=now)}/",
            f"/a/{signed_links.token_for(failed, address=REFUSED, now=now)}/add-address/",
        ],
    )


def move_on(rows: list[LearnerContentAssignment], *, now: datetime) -> None:
    """Accept the first, decline the second, cancel the third, and let the fourth expire."""
    accepted, declined, cancelled, expired = rows[:4]
    redemption.begin(accepted, now=now)
    world.deliver(now=now)
    declining.decline(declined, reason="No time", now=now)
    cancellation.cancel(cancelled.budget, uuids=[cancelled.uuid], now=now)
    LearnerContentAssignment.objects.filter(pk=expired.pk).update(
        state=State.EXPIRED, expires_at=now, expired_at=now
    )


def test_every_page_is_for_all(visitor: Visitor, scene: Scene, subtests: pytest.Subtests) -> None:
    for user, paths in ((scene.alice, scene.of_learners), (scene.ada, scene.of_administrators)):
        visitor.sign_in(user)
        for path in paths:
            with subtests.test(path):
                visitor.open(path)
                visitor.looks_over()
    for button in ("Cancel", "Retry", "Extend"):
        with subtests.test(f"the question about many assignments: {button}"):
            page = visitor.open("/assignments/")
            page.get_by_label("that the filter finds").check()
            page.get_by_role("button", name=button, exact=True).click()
            expect(page.get_by_role("link", name="No, back")).to_be_visible()
            visitor.looks_over()


def test_every_page_is_read_without_scripts(reader: Visitor, scene: Scene) -> None:
    for user, paths in ((scene.ada, scene.of_administrators), (scene.alice, scene.of_learners)):
        reader.sign_in(user)
        # Of the pages of one kind, the last: they differ in what is stored, and not in how they are made.
        for path in {A_UUID.sub("", path): path for path in paths}.values():
            page = reader.open(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert len(page.locator("main").inner_text()) > 40, path


def test_every_page_that_goes_wrong_is_for_all(
    visitor: Visitor, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    for status, answer in gone_wrong(visitor, scene, monkeypatch):
        visitor.is_shown(answer, status=status)
        visitor.looks_over()


def gone_wrong(
    visitor: Visitor, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, Response | None]]:
    """Open each page that answers what goes wrong; yield its status, and the answer."""
    page, origin = visitor.page, visitor.origin
    yield 404, page.goto(f"{origin}/nothing/")
    yield 404, page.goto(f"{origin}/a/nonsense/")
    page.goto(f"{origin}/sign-in/")
    page.context.clear_cookies()
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASS_PHRASE)
    with page.expect_navigation() as sent:
        page.keyboard.press("Enter")
    yield 403, sent.value
    with monkeypatch.context() as locked:
        later = timezone.now() + timedelta(minutes=9)
        locked.setattr(lockouts, "locked_until", lambda request: later)
        yield 429, page.goto(f"{origin}/sign-in/")
    visitor.sign_in(scene.alice)
    for view, error, status, path in (
        ("own_page", PermissionDenied(), 403, "/courses/"),
        ("overview", RuntimeError("meant to fail"), 500, "/"),
    ):
        monkeypatch.setattr(views, view, failing(error))
        yield status, page.goto(f"{origin}{path}")


def failing(error: Exception) -> object:
    def fail(*_args: object, **_more: object) -> None:
        raise error

    return fail


def test_the_page_of_a_request_that_cannot_be_read_is(visitor: Visitor) -> None:
    html = Client().get("/", headers={"host": "evil.example"})
    assert html.status_code == 400
    visitor.page.route("**/unread/", lambda route: route.fulfill(body=html.content, content_type="text/html"))
    visitor.page.goto(f"{visitor.origin}/unread/")
    visitor.looks_over()


def test_the_pages_around_signing_in_and_ones_own_account(visitor: Visitor) -> None:
    user = world.given_user(Role.ADMINISTRATOR, customer=world.given_customer(), username="ada")
    user.set_password(PASS_PHRASE)
    user.save()
    for path in (
        "/",
        "/forgotten-password/",
        "/forgotten-password/sent/",
        "/new-password/MQ/none/",
        "/sign-in/",
    ):
        page = visitor.open(path)
        visitor.looks_over()

    page.evaluate(KEEP)
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASS_PHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You are signed in")).to_be_visible()
    visitor.looks_over()

    visitor.open("/account/")
    page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    scope, end = (page.get_by_label(name).bounding_box() for name in ("What it may do", "How long it works"))
    assert scope is not None
    assert end is not None
    assert scope["height"] > end["height"]  # what is chosen takes two lines, of which none is cut off
    page.get_by_label("Name of the new key").fill("HR report")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("bur_")
    visitor.looks_over()

    page.get_by_role("link", name="Revoke HR report").click()
    expect(page.get_by_role("link", name="No, back")).to_be_visible()
    visitor.looks_over()


def test_before_signing_in_a_form_stands_in_the_middle_and_a_title_is_as_dark_as_a_heading(
    visitor: Visitor,
) -> None:
    page = visitor.open("/sign-in/")
    form = page.locator("form").bounding_box()
    assert form is not None
    assert abs(form["x"] + form["width"] / 2 - WIDTHS[-1] / 2) < 10
    visitor.is_shown(page.goto(f"{visitor.origin}/nothing/"), status=404)
    lead = page.locator(".head").bounding_box()
    assert lead is not None
    assert abs(lead["x"] + lead["width"] / 2 - WIDTHS[-1] / 2) < 10
    assert lead["width"] < WIDTHS[1]

    visitor.sign_in(world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()))
    visitor.open("/account/")
    title, below = (page.locator(one).first.evaluate(COLOUR) for one in ("h1", "main h2"))
    assert title == below


def test_a_word_of_a_name_that_is_wider_than_a_phone_widens_no_page(
    visitor: Visitor, subtests: pytest.Subtests
) -> None:
    customer = world.given_customer(name=WIDE)
    budget = world.given_budget(name=WIDE, customer=customer)
    world.allocate(budget, world.given_content(title=WIDE), ALICE, now=timezone.now())
    row = LearnerContentAssignment.objects.get()
    visitor.sign_in(world.given_user(Role.ADMINISTRATOR, customer=customer, username="ada"))
    of_budget = [f"/budgets/{more}" for more in ("", f"{budget.uuid}/", f"{budget.uuid}/assign/")]
    of_one = [f"/assignments/{more}" for more in ("", f"{row.uuid}/", f"{row.uuid}/cancel/")]
    for path in ("/", *of_budget, *of_one):
        with subtests.test(path):
            visitor.open(path)
            visitor.fits()
    world.deliver(now=timezone.now())
    mail = world.action_of(row, ActionType.NOTIFIED).payload["html"]
    visitor.page.route("**/mail/", lambda route: route.fulfill(body=mail, content_type="text/html"))
    visitor.page.goto(f"{visitor.origin}/mail/")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == WIDTHS[-1]
    visitor.page.set_viewport_size({"width": WIDTHS[0], "height": HEIGHT})
    assert visitor.page.evaluate("document.documentElement.scrollWidth") == WIDTHS[0]


def test_the_description_of_the_api_opens_an_operation_with_its_refusals(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not IN_FULL:  # each operation is drawn by the same scripts, and the whole takes them five seconds
        whole = docs.schema()
        few = {path: one for path, one in whole["paths"].items() if "allocate" in path}
        monkeypatch.setattr(docs, "schema", lambda: whole | {"paths": few})
    page = visitor.open("/api/v1/docs/")
    expect(page.locator(".info .title")).to_contain_text("Bursary")
    page.get_by_text("Preview an allocation").click()
    expect(page.get_by_text("idempotency_key_reused").first).to_be_visible()
