"""The shell of every page: navigation, the organisation and its zone, and nothing from another site."""

import gzip
import json
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from bursary.access.models import Role, RoleGrant
from tests import world

pytestmark = pytest.mark.django_db

STATIC = Path(finders.find("vendor/tabler.min.css") or "").parent


def page(client: Client, address: str = "/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def sections(html: str) -> list[str]:
    """Return the addresses in the navigation."""
    nav = re.search(r'<nav class="sections".*?</nav>', html, re.DOTALL)
    return re.findall(r'<a href="(.*?)"', nav.group()) if nav else []


def test_an_administrator_sees_the_organisation_and_its_zone(client: Client) -> None:
    customer = world.given_customer(name="Larkspur Logistics")
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=customer, username="ada"))

    html = page(client)

    assert '<span class="organisation" dir="auto">Larkspur Logistics</span>' in html
    assert '<span class="zone">Madrid time · </span><a href="/account/"><bdi>ada</bdi></a>' in html


def test_with_several_organisations_none_is_said_to_be_the_one(client: Client) -> None:
    user = world.given_user(Role.ADMINISTRATOR, customer=world.given_customer(name="One"))
    RoleGrant.objects.create(user=user, role=Role.ADMINISTRATOR, customer=world.given_customer(name="Other"))
    client.force_login(user)
    assert "Several organisations" in page(client)

    client.force_login(world.given_user(Role.OPERATOR))
    html = page(client)
    assert "All organisations" in html
    assert "Madrid time" not in html


def test_a_learner_is_led_to_their_courses_and_to_nothing_of_administrators(client: Client) -> None:
    client.force_login(world.given_user(Role.LEARNER, customer=world.given_customer()))

    for address in (reverse("own-assignments"), "/"):
        html = page(client, address)
        assert sections(html) == [reverse("own-assignments")]
        assert html.count('aria-current="true"') == 1


def test_signed_out_there_is_no_navigation_and_no_script(client: Client) -> None:
    html = page(client)

    assert sections(html) == []
    assert "<script" not in html


def test_every_script_style_and_picture_is_of_this_site_and_none_is_in_the_page(client: Client) -> None:
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=world.given_customer()))

    html = page(client)

    for address in re.findall(r'(?:src|<link[^>]*href|<use href)="(.*?)"', html):
        assert address.startswith("/static/"), address
        assert finders.find(address.removeprefix("/static/").partition("#")[0]), address
    assert re.findall(r"<script(?![^>]* src=)", html) == []
    assert re.findall(r'\s(?:style|on\w+)="', html) == []


def test_the_policy_allows_this_site_alone(client: Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]

    for rule in ("default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self' data:"):
        assert f"{rule};" in policy
    assert "unsafe" not in policy


def test_an_icon_that_a_page_uses_is_in_the_sprite_and_no_other(client: Client) -> None:
    drawn = set(re.findall(r'<symbol id="(.*?)"', (STATIC / "icons.svg").read_text(encoding="utf-8")))
    templates = Path(__file__).parents[2] / "bursary/dashboard"
    sources = [*templates.rglob("*.html"), *templates.glob("*.py")]
    used = {name for one in sources for name in re.findall(r'{% icon "(.*?)"', one.read_text("utf-8"))}
    named = {name for one in sources for name in re.findall(r'"([a-z-]+)"', one.read_text("utf-8"))}

    assert used
    assert used <= drawn <= named


def test_the_vendored_files_carry_their_version_and_licence() -> None:
    versions = json.loads((STATIC / "VERSIONS.json").read_text(encoding="utf-8"))
    plain = (STATIC / "tabler.min.css").read_bytes()

    assert f"Tabler v{versions['@tabler/core']['version']} ".encode() in plain
    assert {one["licence"] for one in versions.values()} == {"MIT"}
    assert "MIT License" in (STATIC / "LICENSE-tabler.txt").read_text(encoding="utf-8")
    assert gzip.decompress((STATIC / "tabler.min.css.gz").read_bytes()) == plain


def test_administrators_read_how_to_reach_the_operator_where_that_is_set(
    client: Client, settings: Settings
) -> None:
    customer = world.given_customer()
    contact = '<a href="mailto:ops@larkspur.example">ops@larkspur.example</a>'
    for role, is_shown in ((Role.ADMINISTRATOR, True), (Role.LEARNER, False), (Role.OPERATOR, False)):
        of_customer = None if role == Role.OPERATOR else customer
        client.force_login(world.given_user(role, customer=of_customer))
        settings.OPERATOR_CONTACT = ""
        assert "The operator of this service:" not in client.get("/").content.decode()
        settings.OPERATOR_CONTACT = "ops@larkspur.example"
        assert (contact in client.get("/").content.decode()) is is_shown
