"""What holds for every page, in a browser: readable by all, at every size, and from this origin alone."""

import pytest
from playwright.sync_api import expect

from bursary.access.models import Role
from tests import world
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_before_signing_in_and_the_way_in(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.looks_over()
    user = world.given_user(Role.ADMINISTRATOR, customer=world.given_customer(), username="ada")
    user.set_password("a pass phrase of ada's")
    user.save()

    page = visitor.open("/sign-in/")
    visitor.looks_over()
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("a pass phrase of ada's")
    page.keyboard.press("Enter")

    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    visitor.looks_over()
