"""A learner unsubscribes from an organisation's reminders with one click, and can take it back."""

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import Settings

from bursary.access import suppressions
from bursary.access.models import Suppression, SuppressionReason
from bursary.assignments import reminders, signed_links
from bursary.assignments.choices import ActionType, Status
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets.models import Customer
from bursary.lib.logs import without_tokens
from bursary.ops import erasure_runs
from tests.smtp import MailServer
from tests.world import (
    ALICE,
    NOW,
    action_of,
    deliver,
    given_assignment,
    given_budget,
    given_content,
    given_customer,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(hours=1)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def reminded(mail: MailServer, settings: Settings) -> LearnerContentAssignment:
    """An assignment with its invitation and a reminder."""
    settings.BASE_URL = "https://bursary.example"
    assignment = given_assignment(content=given_content(start_date=NOW + timedelta(days=60)))
    deliver()
    remind(assignment)
    return assignment


def remind(assignment: LearnerContentAssignment, *, hours: int = 1) -> str:
    """Have an administrator remind the learner; return how that ended."""
    now = NOW + timedelta(hours=hours)
    reminders.remind(assignment.budget, uuids=[assignment.uuid], now=now)
    deliver(now=now)
    done = action_of(assignment, ActionType.REMINDED)
    return done.error_code or done.status


def path_in(message: Any) -> str:
    found = re.fullmatch(r"<https://bursary\.example(/u/[^>]+/)>", message["List-Unsubscribe"].strip())
    assert found
    return found[1]


@pytest.mark.on_every_engine
def test_reminders_and_nudges_alone_can_be_unsubscribed_from(
    reminded: LearnerContentAssignment, mail: MailServer
) -> None:
    reminders.nudge(reminded.budget, uuids=[reminded.uuid], now=LATER)
    deliver(now=LATER)

    invited, *others = mail.received
    assert "List-Unsubscribe" not in invited
    assert "/u/" not in invited.as_string()
    assert len(others) == 2
    for one in others:
        assert one["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        for kind in ("plain", "html"):
            part = one.get_body((kind,))
            assert part is not None
            assert path_in(one) in part.get_content()
    kept = action_of(reminded, ActionType.REMINDED).payload
    assert "/u/…/" in kept["text"]
    assert "/u/…/" in kept["html"]


def test_over_http_no_one_click_is_promised(mail: MailServer, settings: Settings) -> None:
    assignment = given_assignment()
    deliver()
    remind(assignment)
    assert mail.received[-1]["List-Unsubscribe"].strip().startswith("<http://testserver/u/")
    assert "List-Unsubscribe-Post" not in mail.received[-1]


def test_one_click_without_a_cookie_stops_reminders_of_this_organisation_until_it_is_taken_back(
    reminded: LearnerContentAssignment, mail: MailServer
) -> None:
    path, reader = path_in(mail.received[-1]), Client(enforce_csrf_checks=True)
    with time_machine.travel(LATER, tick=False):
        assert "Send no more reminders" in reader.get(path).content.decode()
        assert not Suppression.objects.exists()
        for _ in range(2):
            assert reader.post(path, ONE_CLICK).status_code == 200
    mail.received.clear()

    assert remind(reminded, hours=2) == "unsubscribed"
    assert mail.received == []
    skipped = action_of(reminded, ActionType.REMINDED)
    assert skipped.status == Status.SKIPPED
    assert skipped.detail == "The learner has unsubscribed from reminders."
    # A new course is announced, and another organisation is not concerned.
    given_assignment(budget=reminded.budget)
    theirs = given_assignment(budget=given_budget(customer=given_customer(name="Northgate")))
    deliver(now=LATER)
    assert len(mail.received) == 2
    assert remind(theirs, hours=3) == Status.DONE
    with time_machine.travel(LATER, tick=False):
        shown = reader.get(path)
        assert "Remind me again" in shown.content.decode()
        assert reader.post(path, {"reminders": "on"}).headers["Location"] == path
        assert "You get reminders again." in reader.get(path).content.decode()
        assert "You get reminders again." not in reader.get(path).content.decode()
    assert remind(reminded, hours=4) == Status.DONE


@pytest.mark.on_every_engine
def test_with_another_secret_key_the_former_one_still_says_what_is_not_to_be_sent(
    reminded: LearnerContentAssignment, mail: MailServer, settings: Settings
) -> None:
    customer, bounced = reminded.budget.customer, "bounced@larkspur.example"
    suppressions.add(customer.pk, ALICE, reason=SuppressionReason.UNSUBSCRIBED, since=NOW)
    suppressions.add(customer.pk, bounced, reason=SuppressionReason.BOUNCED, since=NOW)

    former, settings.SECRET_KEY = settings.SECRET_KEY, "another key of tests, which has enough characters"
    settings.FORMER_SECRET_KEYS = ["one of long before", former]

    assert remind(reminded, hours=2) == "unsubscribed"
    assert suppressions.reported(customer.pk, [ALICE, bounced]) == {bounced: SuppressionReason.BOUNCED}
    assert suppressions.is_reported_since(customer.pk, bounced, since=NOW - timedelta(seconds=1))
    # What is learnt with the new key counts beside it, and both end together.
    assert suppressions.add(customer.pk, bounced, reason=SuppressionReason.BOUNCED, since=LATER)
    assert suppressions.end(customer.pk, bounced, reasons=suppressions.BY_REPORT)
    assert suppressions.reasons(customer.pk, bounced) == set()
    erasure_runs.forget(ALICE, now=LATER)
    assert not Suppression.objects.exists()


def test_a_link_that_is_forged_for_something_else_or_forgotten_changes_nothing(
    reminded: LearnerContentAssignment, mail: MailServer
) -> None:
    path, reader = path_in(mail.received[-1]), Client()
    answering = signed_links.token_for(reminded, address=ALICE, now=NOW)
    with time_machine.travel(LATER, tick=False):
        assert reader.post(f"{path[:-2]}x/", ONE_CLICK).status_code == 404
        assert reader.post(f"/u/{answering}/", ONE_CLICK).status_code == 404
        assert reader.get(path.replace("/u/", "/a/")).status_code == 404
        assert not Suppression.objects.exists()
        reader.post(path, ONE_CLICK)
        erasure_runs.forget(ALICE, now=LATER)
        assert not Suppression.objects.exists()
        assert reader.post(path, ONE_CLICK).status_code == 410
    assert not Suppression.objects.exists()


def test_a_link_that_does_not_work_says_what_its_reader_can_do_without_an_account(
    reminded: LearnerContentAssignment, mail: MailServer
) -> None:
    path, reader = path_in(mail.received[-1]), Client()
    Customer.objects.update(contact_email="desk@larkspur.example")
    changed = path[:-2] + ("A" if path[-2] != "A" else "B") + "/"
    again = "Open the mail again and press “No more reminders” at its end, or copy the whole address of that"

    for broken in (path[:-9] + "/", changed):
        text = reader.get(broken).content.decode()
        assert again in text
        assert "The link in any newer reminder works as well." in text
        assert "ask where the mail says to write with questions." in text
        assert ("sign in" in text, "press the button there" in text, "Larkspur" in text) == (False,) * 3
    with time_machine.travel(NOW + timedelta(days=3 * 365), tick=False):
        text = reader.get(path).content.decode()
    assert "Press “No more reminders” at the end of a newer reminder." in text
    assert "Larkspur Logistics" in text
    assert "mailto:desk@larkspur.example" in text
    assert "sign in" not in text


def test_the_token_is_masked_in_logs(reminded: LearnerContentAssignment, mail: MailServer) -> None:
    assert without_tokens(f"POST {path_in(mail.received[-1])} 200") == "POST /u/…/ 200"


def test_an_organisation_has_a_senders_name_and_an_address_for_replies(mail: MailServer) -> None:
    customer = given_customer(sender_name="Larkspur, née Ünder", contact_email="desk@larkspur.example")
    given_assignment(budget=given_budget(customer=customer))
    deliver()
    (sent,) = mail.received
    sender = sent["From"].addresses[0]
    assert (sender.display_name, sender.addr_spec) == ("Larkspur, née Ünder", "bursary@localhost")
    assert sent["Reply-To"] == "desk@larkspur.example"


HOSTILE = ["L\r\nBcc: eve@evil.example", 'L" <eve@evil.example>', "eve@evil.example", "L\u202e\u0000", "a, b"]


def test_a_senders_name_makes_no_header_and_no_address(mail: MailServer, subtests: pytest.Subtests) -> None:
    for name in HOSTILE:
        with subtests.test(name):
            customer = given_customer(sender_name=name.replace("\0", ""))
            with pytest.raises(ValidationError):
                Customer(name="L", slug="l", sender_name=name).full_clean()
            # Written past the form, it still is a name and nothing else.
            mail.received.clear()
            given_assignment(budget=given_budget(customer=customer))
            deliver()
            (sent,) = mail.received
            assert "Bcc" not in sent
            assert [one.addr_spec for one in sent["From"].addresses] == ["bursary@localhost"]
    assert suppressions.hashed(ALICE) != suppressions.hashed("bob@learners.example")
