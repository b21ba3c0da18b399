"""The administration and the API's own pages, which packages bring: they work under the policy.

The description of the API is in test_every_page.py.
"""

import pytest
from playwright.sync_api import expect

from bursary.access.models import Role
from tests import world
from tests.browser.visitor import Visitor

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.takes_long,
]


def test_the_administration_and_the_forms_of_the_api_work_under_their_policy(visitor: Visitor) -> None:
    root = world.given_user(Role.OPERATOR, username="root", is_staff=True, is_superuser=True)
    visitor.sign_in(root)
    page = visitor.open("/admin/access/rolegrant/")
    page.locator("#action-toggle").check()  # a script counts what is chosen
    expect(page.locator(".action-counter")).to_contain_text("1 of 1 selected")
    page = visitor.open("/admin/access/rolegrant/add/")
    page.locator(".select2-selection").first.click()  # a script asks for the users
    expect(page.locator(".select2-results__option")).to_have_text(str(root))

    page.goto(f"{visitor.origin}/api/v1/subsidy-access-policies/?format=api")
    expect(page.get_by_role("button", name="OPTIONS")).to_be_visible()
