"""What mails say, to readers of their text and of their HTML alike."""

import re
from datetime import timedelta
from html import unescape
from itertools import pairwise

import pytest

from bursary.access.models import Role
from bursary.assignments import actions
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.models import ContentMetadata
from tests.letters import text_of
from tests.smtp import MailServer
from tests.world import (
    NOW,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
    given_user,
)

pytestmark = pytest.mark.django_db

PAGE = "https://www.example-edx.org/course/tides?utm_source=larkspur&x=1"


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    content = given_content(
        title="Tidal Engines",
        partner_names="Riverside Institute",
        payload={"short_description": "<p>Learn <b>tides</b> &amp; locks.</p>"},
        links={"marketing_url": PAGE},
        weeks_to_complete=5,
        pacing="self_paced",
        start_date=NOW + timedelta(days=60),
        end_date=NOW + timedelta(days=120),
    )
    customer = given_customer(contact_email="learning@larkspur.example")
    return given_assignment(given_budget(customer=customer), content)


def html_of(mail: MailServer) -> str:
    body = mail.received[-1].get_body(("html",))
    assert body is not None
    return str(body.get_content())


def words(html: str) -> str:
    """Return what is read in a mail's HTML, with the addresses of its links to pages after their words."""
    body = re.sub(r"<!--.*?-->", "", html.partition("<body")[2].partition(">")[2], flags=re.DOTALL)
    body = re.sub(r'<a [^>]*?href="mailto:[^>]*>(.*?)</a>', r"\1", body)
    body = re.sub(r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', r"\2: \1 ", body)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_outlook_gets_a_width_a_font_and_a_button_that_it_knows(
    assignment: LearnerContentAssignment, mail: MailServer
) -> None:
    send(assignment)
    html = html_of(mail)
    for_outlook = re.findall(r"<!--\[if mso\]>(.*?)<!\[endif\]-->", html, flags=re.DOTALL)
    assert [one.count("<table") - one.count("</table") for one in for_outlook] == [0, 1, -1]
    assert "font-family: Arial" in for_outlook[0]
    assert 'width="600"' in for_outlook[1]
    assert re.search(
        r'<td class="button" bgcolor="#14634d" style="[^"]*mso-padding-alt: 12px 24px"><a ', html
    )
    # What is dark for browsers is dark where Outlook's own pages darken, too.
    dark = re.search(r"prefers-color-scheme: dark\) \{(.*?)\n\}(.*)</style>", html, flags=re.DOTALL)
    assert dark
    for name in ("outside", "inside", "button"):
        assert f".{name} {{ background-color" in dark[1]
        assert f"[data-ogsb] .{name} {{ background-color" in dark[2]
    for name in ("words", "soft", "link", "button a"):
        assert f".{name} {{ color" in dark[1]
        assert f"[data-ogsc] .{name} {{ color" in dark[2]


def send(assignment: LearnerContentAssignment, kind: ActionType | None = None) -> None:
    deliver()
    if kind is ActionType.CANCELLATION_NOTIFIED:
        cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    elif kind:
        actions.request([assignment], [kind], now=NOW, dedup_key="manual-1")
    deliver()


@pytest.mark.parametrize(
    "kind", [None, ActionType.REMINDED, ActionType.NUDGED, ActionType.CANCELLATION_NOTIFIED]
)
def test_text_and_html_have_the_same_words_in_the_same_order(
    assignment: LearnerContentAssignment, mail: MailServer, kind: ActionType | None
) -> None:
    send(assignment, kind)
    assert words(html_of(mail)) == " ".join(text_of(mail.received[-1]).split())


def test_deadline_and_link_come_first_then_what_the_course_is_and_where_to_ask(
    assignment: LearnerContentAssignment, mail: MailServer
) -> None:
    send(assignment)
    text = text_of(mail.received[-1])
    in_order = [
        "Larkspur Logistics has assigned you a course and pays for it:",
        "Tidal Engines",
        "by Riverside Institute",
        "Please accept by ",
        "http://testserver/a/",
        "Learn tides & locks.",
        "Starts on Friday, 1 May 2026",
        "Ends on Tuesday, 30 June 2026",
        "5 weeks long",
        "Learn at your own pace",
        f"The course's own page: {PAGE}",
        "Questions? Write to learning@larkspur.example.",
        "This e-mail was sent for Larkspur Logistics.",
    ]
    places = [text.index(one) for one in in_order]
    assert places == sorted(places)


def test_without_a_contact_the_learner_asks_an_administrator_or_else_the_organisation(
    mail: MailServer,
) -> None:
    assignment = given_assignment()
    deliver()
    assert "Questions? Ask Larkspur Logistics." in text_of(mail.received[-1])
    ada = given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer)
    send(assignment, ActionType.REMINDED)
    assert f"Questions? Write to {ada.email}." in text_of(mail.received[-1])


def test_it_is_laid_out_for_phones_dark_mode_and_outlook(
    assignment: LearnerContentAssignment, mail: MailServer
) -> None:
    send(assignment)
    html = html_of(mail)
    assert '<meta name="viewport" content="width=device-width' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert html.count("<table") == html.count('<table role="presentation"') >= 3
    assert not re.search(r"<(img|script|link|form)\b|display: *(flex|grid)", html)


def test_a_start_and_an_end_that_have_passed_are_said_to_have_passed(
    assignment: LearnerContentAssignment, mail: MailServer
) -> None:
    # A course has the dates of its run.
    dates = {"start_date": NOW - timedelta(days=270), "end_date": NOW - timedelta(days=1)}
    ContentMetadata.objects.update(**dates)
    assignment.refresh_from_db()
    send(assignment)
    for read in (text_of(mail.received[-1]), words(html_of(mail))):
        assert "Started on Thursday, 5 June 2025" in read
        assert "Ended on Sunday, 1 March 2026" in read
        assert "Starts on" not in read


def test_replies_go_to_the_contact_which_is_a_link_in_html(
    assignment: LearnerContentAssignment, mail: MailServer
) -> None:
    send(assignment)
    assert mail.received[-1]["Reply-To"] == "learning@larkspur.example"
    assert 'href="mailto:learning@larkspur.example"' in html_of(mail)
    for read in (text_of(mail.received[-1]), words(html_of(mail))):
        assert "Replies go to learning@larkspur.example." in read
        assert "not read" not in read


@pytest.mark.parametrize("contact", ["", "learning@localhost"])
def test_without_a_contact_that_can_be_mailed_replies_are_not_read(mail: MailServer, contact: str) -> None:
    given_assignment(given_budget(customer=given_customer(contact_email=contact)))
    deliver()
    assert mail.received[-1]["Reply-To"] is None
    assert "Replies are not read." in text_of(mail.received[-1])


@pytest.mark.parametrize(
    "kind", [None, ActionType.REMINDED, ActionType.NUDGED, ActionType.CANCELLATION_NOTIFIED]
)
@pytest.mark.parametrize("described", [True, False])
def test_the_text_never_has_two_empty_lines_together(
    assignment: LearnerContentAssignment, mail: MailServer, *, kind: ActionType | None, described: bool
) -> None:
    if not described:
        ContentMetadata.objects.update(payload={}, partner_names="", end_date=None)
    send(assignment, kind)
    lines = [line.strip() for line in text_of(mail.received[-1]).splitlines()]
    assert ("", "") not in pairwise(lines)
