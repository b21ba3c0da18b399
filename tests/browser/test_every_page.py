"""What holds for every page, in a browser: readable by all, at every size, and from this origin alone."""

import pytest
from playwright.sync_api import expect

from bursary.access.models import Role
from tests import world
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)

PASS_PHRASE = "a pass phrase of ada's"


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

    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASS_PHRASE)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    visitor.looks_over()

    visitor.open("/account/password/")
    visitor.looks_over()
    visitor.open("/account/")
    page.get_by_label("Name of the new key").fill("HR report")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("bur_")
    expect(page.get_by_role("button", name="Revoke HR report")).to_be_visible()
    visitor.looks_over()
