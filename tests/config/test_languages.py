"""A second language needs no code: its messages show on pages and in mails; dates and numbers follow."""

import re
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from pytest_django import Settings

from bursary.access.models import Role
from bursary.assignments import address_corrections, declining, extension, signed_links
from bursary.assignments.choices import ActionType
from bursary.dashboard.templatetags.moments import day
from bursary.lib import moments
from bursary.lib.money import dollars
from tests import world
from tests.languages import add_language
from tests.letters import text_of
from tests.smtp import MailServer
from tests.world import ALICE, NOW

pytestmark = pytest.mark.django_db

STYLES = Path(__file__).parents[2] / "bursary/dashboard/static/dashboard/bursary.css"
ESPERANTO = {
    "Sign in": "Ensaluti",
    "Learning, within a budget": "Lernado, ene de buĝeto",
    "Your answer": "Via respondo",
    "Accept": "Akcepti",
    "<bdi>%(organisation)s</bdi> has assigned you this course and pays for it.": (
        "<bdi>%(organisation)s</bdi> asignis al vi ĉi tiun kurson kaj pagas ĝin."
    ),
    "after that it cannot be accepted any more": "poste ĝi ne plu akcepteblas",
    "%(organisation)s has assigned you “%(course)s”": "%(organisation)s asignis al vi “%(course)s”",
    "Accept or decline the course": "Akceptu aŭ malakceptu la kurson",
    "%(city)s time": "horo de %(city)s",
    "There is no such page": "Tia paĝo ne ekzistas",
    "My courses": "Miaj kursoj",
    "waiting for your answer": "atendas vian respondon",
    "You declined this assignment.": "Vi malakceptis ĉi tiun asignon.",
    "Only what failed can be retried.": "Nur kio malsukcesis povas esti reprovata.",
    "No open assignment has this address.": "Neniu malfermita asigno havas ĉi tiun adreson.",
    "the budget ends then": "tiam la buĝeto finiĝas",
    "From %(old)s to %(new)s: %(decided_by)s.": "De %(old)s al %(new)s: %(decided_by)s.",
    "From %(old)s to %(new)s.": "De %(old)s al %(new)s.",
    "Its e-mail links were revoked on %(moment)s.": "Ĝiaj ligiloj estis nuligitaj je %(moment)s.",
    "%(weeks)s week\0%(weeks)s weeks": "%(weeks)s semajno\0%(weeks)s semajnoj",
}


@pytest.fixture
def esperanto(settings: Settings, tmp_path: Path) -> Client:
    """A browser that asks for Esperanto, of which there is nothing but a file of messages."""
    add_language(tmp_path, code="eo", messages=ESPERANTO)
    settings.LOCALE_PATHS = [tmp_path]
    settings.LANGUAGES = [("en", "English"), ("eo", "Esperanto")]
    return Client(headers={"accept-language": "eo,en;q=0.5"})


def read(client: Client, path: str) -> str:
    return unescape(client.get(path).content.decode())


def link_of(assignment: object) -> str:
    return f"/a/{signed_links.token_for(assignment, address=ALICE, now=timezone.now())}/"  # type: ignore[arg-type]  # an assignment


def test_pages_are_in_the_language_that_the_browser_asks_for(esperanto: Client) -> None:
    home = read(esperanto, "/")
    assert '<html lang="eo" dir="ltr">' in home
    assert "Lernado, ene de buĝeto" in home
    assert "Ensaluti" in read(esperanto, reverse("sign-in"))
    assert "Tia paĝo ne ekzistas" in read(esperanto, "/nothing/")
    assert "Learning, within a budget" in read(Client(headers={"accept-language": "fr"}), "/")


def test_the_learners_pages_are(esperanto: Client) -> None:
    content = world.given_content(weeks_to_complete=5)
    assignment = world.given_assignment(content=content, now=timezone.now())
    page = read(esperanto, link_of(assignment))
    for expected in (
        "Via respondo",
        "<bdi>Larkspur Logistics</bdi> asignis al vi ĉi tiun kurson kaj pagas ĝin.",
        "(horo de Madrid): poste ĝi ne plu akcepteblas.",
        "Akcepti",
        "5 semajnoj",
    ):
        assert expected in page

    esperanto.force_login(world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=ALICE))
    listed = read(esperanto, reverse("own-assignments"))
    assert "Miaj kursoj" in listed
    assert "Atendas vian respondon" in listed


def test_a_refusal_is_translated_and_its_reason_is_a_code(esperanto: Client) -> None:
    assignment = world.given_assignment(now=timezone.now())
    declining.decline(assignment, reason="", now=timezone.now())
    assert "Vi malakceptis ĉi tiun asignon." in read(esperanto, link_of(assignment))

    learner = world.given_user(Role.LEARNER, customer=assignment.budget.customer, email=ALICE, lms_user_id=7)
    esperanto.force_login(learner)
    answer = esperanto.get(
        f"/api/v1/policy-redemption/enterprise-customer/{assignment.budget.customer.uuid}/can-redeem/",
        {"content_key": assignment.content_key},
    )
    assert '"reason_learner_assignment_cancelled"' in answer.content.decode()


def test_mails_are_in_the_first_language_whatever_that_of_the_reader_that_caused_them(
    esperanto: Client, settings: Settings, mail: MailServer
) -> None:
    settings.LANGUAGE_CODE = "eo"
    world.given_assignment(content=world.given_content(title="Tidal Engines"))
    with translation.override("en"):
        world.deliver()
    (message,) = mail.received
    assert message["Subject"].strip() == "Larkspur Logistics asignis al vi “Tidal Engines”"
    assert "Akceptu aŭ malakceptu la kurson" in text_of(message)
    assert "(horo de Madrid): poste ĝi ne plu akcepteblas." in text_of(message)
    html = message.get_body(("html",))
    assert html is not None
    assert '<html lang="eo" dir="ltr">' in html.get_content()


def test_a_refused_correction_is_in_the_language_of_the_page(esperanto: Client) -> None:
    with translation.override("eo"):
        refused = address_corrections.correct_pair(ALICE, "alicia@people.example", now=NOW)
    assert refused.sentence == "Neniu malfermita asigno havas ĉi tiun adreson."


def test_a_correction_is_shown_in_the_language_of_the_page(esperanto: Client) -> None:
    assignment = world.given_assignment(address=ALICE, now=NOW)
    address_corrections.correct_pair(ALICE, "alicia@people.example", now=NOW)
    esperanto.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))

    assert f"De {ALICE} al alicia@people.example." in read(esperanto, f"/assignments/{assignment.uuid}/")


@pytest.mark.parametrize(
    ("of_mails", "of_the_page", "kept", "revoked"),
    [
        ("en", "eo", "From Sunday, 31 May 2026, ", "Its e-mail links were revoked on Monday, 2 March"),
        ("eo", "en", "De diman", "Ĝiaj ligiloj estis nuligitaj je lundo, 2"),
    ],
)
def test_what_the_timeline_keeps_is_in_the_language_of_mails_whatever_that_of_the_page(
    esperanto: Client, settings: Settings, of_mails: str, of_the_page: str, kept: str, revoked: str
) -> None:
    settings.LANGUAGE_CODE = of_mails
    assignment = world.given_assignment(now=NOW)
    until = assignment.expires_at + timedelta(days=30)
    with translation.override(of_the_page):
        extension.extend(assignment.budget, uuids=[assignment.uuid], until=until, now=NOW)
        signed_links.revoke(assignment, now=NOW)

    extended = assignment.actions.get(action_type=ActionType.DEADLINE_EXTENDED).detail
    assert extended.startswith(kept)
    assert revoked in assignment.actions.get(action_type=ActionType.ALLOCATED).detail


def test_from_right_to_left_pages_and_mails_say_so(settings: Settings, mail: MailServer) -> None:
    settings.LANGUAGES = [("ar", "العربيّة")]
    settings.LANGUAGE_CODE = "ar"
    assignment = world.given_assignment(
        content=world.given_content(title="Tidal Engines"), now=timezone.now()
    )
    page = Client().get(link_of(assignment)).content.decode()
    assert '<html lang="ar" dir="rtl">' in page
    assert '<h1 class="page-title" dir="auto">' in page
    world.deliver(now=timezone.now())
    html = mail.received[0].get_body(("html",))
    assert html is not None
    assert '<html lang="ar" dir="rtl">' in html.get_content()


def test_styles_name_the_beginning_and_the_end_rather_than_left_and_right() -> None:
    physical = re.compile(
        r"(?:margin|padding|border|inset)-(?:left|right)|(?<![-\w])(?:left|right)\s*:|: *(?:left|right)\b"
    )
    assert physical.findall(STYLES.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("language", "money", "moment", "short"),
    [
        ("en", "$1,234.50", "Monday, 2 March 2026, 10:00 (Madrid time)", "2 Mar 2026"),
        ("de", "$1.234,50", "Montag, 2 März 2026, 10:00 (Madrid time)", "2. März 2026"),
        ("fr", "$1\u202f234,50", "lundi, 2 mars 2026, 10:00 (Madrid time)", "2 mars 2026"),
    ],
)
def test_amounts_and_dates_follow_the_language(language: str, money: str, moment: str, short: str) -> None:
    zone = world.given_customer().zone
    with translation.override(language):
        assert dollars(123450).replace("\xa0", "\u202f") == money
        assert moments.in_words(NOW, zone=zone) == moment
        assert day(NOW, zone) == short


def test_pictures_are_drawn_alike_in_each_language(client: Client, settings: Settings) -> None:
    settings.LANGUAGES = [("de", "Deutsch"), ("en", "English")]
    assignment = world.given_assignment(now=timezone.now())
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))
    drawn = {
        language: re.findall(
            r"<(?:svg|rect)[^>]*>", client.get("/", headers={"accept-language": language}).content.decode()
        )
        for language in ("de", "en")
    }
    assert any("<rect" in shape for shape in drawn["en"])
    assert drawn["de"] == drawn["en"]
