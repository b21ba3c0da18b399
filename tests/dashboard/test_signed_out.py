"""Assigning when the session or the token ends while the form is filled in: nothing typed is lost."""

import html
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from bursary.budgets.models import Budget
from tests import world
from tests.dashboard.desk import Desk, nothing_was_done, stored
from tests.world import ALICE, BOB, PRICE

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


def fields(text: str) -> dict[str, str]:
    """Return the hidden fields of the page's own form, without its token."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', text.partition("<main")[2])
    return {name: html.unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


@pytest.mark.parametrize("method", ["get", "post"])
def test_of_htmx_a_sentence_says_it_instead_of_the_page_to_sign_in(desk: Desk, method: str) -> None:
    desk.client.logout()

    answer = getattr(desk.client, method)(desk.address, {"q": "x", "addresses": ALICE}, headers=HTMX)

    text = answer.content.decode()
    assert answer.status_code == 401
    assert "You are signed out." in text
    assert '<a href="/sign-in/" target="_blank" rel="noopener">Sign in in another tab</a>' in text
    assert "your text stays" in text
    assert "<html" not in text
    assert "password" not in text


def test_of_htmx_a_token_that_is_gone_is_a_sentence_too(desk: Desk) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(desk.user)

    answer = strict.post(desk.address, {"addresses": ALICE}, headers=HTMX)

    text = answer.content.decode()
    assert answer.status_code == 403
    assert "your text stays" in text
    assert "<html" not in text
    whole = strict.post(desk.address, {"addresses": ALICE})
    assert (whole.status_code, "<html" in whole.content.decode()) == (403, True)


def test_what_is_sent_by_a_user_signed_out_is_there_again_after_signing_in(
    desk: Desk, budget: Budget
) -> None:
    content = world.given_content()
    desk.user.set_password("right")
    desk.user.save()
    desk.client.logout()
    message = 'Dear "all",\r\nsee <you>'
    file = SimpleUploadedFile("list.csv", BOB.encode())

    asked: Any = desk.press(
        "assign", content, f"{ALICE}\n", message=message, due_date="2900-03-20", file=file
    )
    assert asked.status_code == 401
    text = asked.content.decode()
    assert "nothing was assigned" in text
    wrong, right = (
        desk.client.post("/sign-in/", fields(text) | {"username": desk.user.username, "password": password})
        for password in ("wrong", "right")
    )
    assert fields(wrong.content.decode()) == fields(text)
    again = fields(right.content.decode())
    assert f'action="{desk.address}"' in right.content.decode()
    shown = desk.text(desk.client.post(desk.address, again))

    assert nothing_was_done(budget)
    assert [line.strip() for line in shown.split("</textarea>")[0].splitlines()[-2:]] == [ALICE, BOB]
    assert 'Dear "all",\r\nsee <you></textarea>' in shown
    assert 'name="due_date" value="2900-03-20"' in shown
    assert "2 learners, $398.00" in shown
    desk.client.post(desk.address, again | {"assign": "yes"})
    assert stored() == [(address, "allocated", PRICE) for address in (ALICE, BOB)]


def test_signing_in_leads_to_no_other_site_with_what_was_kept(desk: Desk) -> None:
    desk.user.set_password("right")
    desk.user.save()
    desk.client.logout()

    answer = desk.client.post(
        "/sign-in/",
        {
            "next": "https://elsewhere.example/",
            "kept-message": "secret",
            "username": desk.user.username,
            "password": "right",
        },
    )

    assert "elsewhere" not in answer.content.decode()
