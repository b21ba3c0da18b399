"""The page behind a mail's link: it needs no account, shows on GET and acts on POST."""

import html
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from bursary.access.models import Role
from bursary.assignments import actions, address_corrections, redemption, signed_links
from bursary.assignments.cancellation import cancel
from bursary.assignments.choices import ActionType, State, Status
from bursary.assignments.matching import Verdict
from bursary.assignments.models import LearnerContentAssignment
from bursary.budgets import ledger
from bursary.budgets.ledger import LedgerError
from bursary.budgets.models import Budget, Customer, LedgerEntry
from bursary.replica.models import CatalogMembership, ContentMetadata
from tests import world
from tests.world import ALICE, BOB, NOW, action_of, timeline

pytestmark = pytest.mark.django_db

ENROL = "https://learn.example.org/enrol"
TOO_LATE = NOW + timedelta(days=15)


class Clock:
    """What the time is."""

    now = NOW


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stop the clock at NOW, until a test moves it."""
    clock = Clock()
    monkeypatch.setattr(timezone, "now", lambda: clock.now)
    return clock


@pytest.fixture
def assignment() -> LearnerContentAssignment:
    content = world.given_content(
        title="Tidal Engines & Locks",
        partner_names="Riverside Institute",
        start_date=datetime.fromisoformat("2026-04-01T08:00:00Z"),
        links={"enrollment_url": ENROL},
    )
    return world.given_assignment(content=content)


@pytest.fixture
def link(assignment: LearnerContentAssignment) -> str:
    """Return the link of a mail that named an earlier deadline, which was moved since."""
    deadline, assignment.expires_at = assignment.expires_at, NOW + timedelta(days=3)
    link = f"/a/{signed_links.token_for(assignment, address=ALICE, now=NOW)}/"
    assignment.expires_at = deadline
    return link


def words(answer: Any) -> str:
    """Return what stands on a page, tags left out."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.content.decode())).split())


def accept(client: Client, link: str) -> Any:
    return client.post(link, {"answer": "accept"})


def decline(client: Client, link: str, reason: str = "") -> Any:
    return client.post(link, {"answer": "decline", "reason": reason}, follow=True)


def state() -> str:
    return LearnerContentAssignment.objects.get().state


# -- Looking ------------------------------------------------------------------------------------------------


def test_it_shows_course_organisation_deadline_and_reason_and_not_the_price(
    client: Client, link: str
) -> None:
    answer = client.get(link)
    assert answer.status_code == 200
    seen = words(answer)
    for expected in (
        "Tidal Engines & Locks",
        "Riverside Institute",
        "1 April 2026",
        "Larkspur Logistics has assigned you this course and pays for it.",
        "Sunday, 31 May 2026, 11:00 (Madrid time): after that it cannot be accepted any more.",
        "Accept",
        "Decline",
    ):
        assert expected in seen
    for hidden in ("199", ALICE, "Skills"):
        assert hidden not in seen


def test_a_get_changes_nothing(client: Client, link: str) -> None:
    before = LearnerContentAssignment.objects.values().get(), list(Budget.objects.values())
    for look in (client.get, client.head, client.get):
        assert look(link).status_code == 200
        assert look(link, {"answer": "accept"}).status_code == 200
    assert client.put(link).status_code == 405
    assert (LearnerContentAssignment.objects.values().get(), list(Budget.objects.values())) == before
    assert not LedgerEntry.objects.exists()


def test_the_token_stays_between_the_learner_and_us(client: Client, link: str) -> None:
    for address in (link, "/a/nonsense/"):
        headers = client.get(address).headers
        assert headers["Referrer-Policy"] == "strict-origin"
        assert headers["X-Robots-Tag"] == "noindex"
        assert "no-store" in headers["Cache-Control"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_form_leads_to_no_other_site(client: Client, link: str) -> None:
    assert "form-action 'self';" in client.get(link).headers["Content-Security-Policy"]


def test_without_the_link_there_is_no_answer(assignment: LearnerContentAssignment, link: str) -> None:
    another = signed_links.token_for(assignment, address=BOB, now=NOW)
    forged = f"{link[:-2]}{'a' if link[-2] != 'a' else 'b'}/"
    browser = Client(enforce_csrf_checks=True)
    for wrong, status in ((f"/a/{assignment.uuid}/", 404), (forged, 404), (f"/a/{another}/", 410)):
        assert accept(browser, wrong).status_code == status
        assert decline(browser, wrong).status_code == status
    assert state() == State.ALLOCATED


def test_the_link_works_without_cookies(assignment: LearnerContentAssignment, link: str) -> None:
    Client(enforce_csrf_checks=True).post(link, {"answer": "decline"})
    assert state() == State.CANCELLED


def test_a_signed_in_administrator_sees_the_learners_page(
    client: Client, assignment: LearnerContentAssignment, link: str
) -> None:
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))
    assert "Accept" in words(client.get(link))
    assert "Timeline" not in words(client.get(link))


# -- Accepting ---------------------------------------------------------------------------------------------


def test_accepting_spends_and_is_confirmed_with_what_happens_next_and_the_way_to_the_course(
    assignment: LearnerContentAssignment, link: str
) -> None:
    without_cookies = Client(enforce_csrf_checks=True)
    answer = accept(without_cookies, link)
    assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert state() == State.ACCEPTED
    assert action_of(assignment, ActionType.REDEEMED).actor is None
    seen = Client().get(link)
    for expected in (
        "What happens now",
        "You have accepted this course.",
        "Larkspur Logistics pays for it; there is nothing more to answer.",
        "It starts on Wednesday, 1 April 2026, 10:00 (Madrid time).",
        "Go to the course",
    ):
        assert expected in words(seen)
    assert f'href="{ENROL}"' in seen.content.decode()
    assert "Decline" not in words(seen)


def test_a_double_click_spends_once(client: Client, link: str) -> None:
    answers = [accept(client, link) for _click in range(2)]
    assert {answer.headers["Location"] for answer in answers} == {link}
    assert LedgerEntry.objects.count() == 1


@pytest.mark.parametrize(
    "links",
    [{}, {"enrollment_url": "javascript:alert(1)"}, {"enrollment_url": "https://[::1"}, {"marketing_url": 7}],
)
def test_without_an_enrolment_url_the_page_says_that_the_course_is_accepted(
    client: Client, link: str, assignment: LearnerContentAssignment, links: dict[str, Any]
) -> None:
    CatalogMembership.objects.update(links={assignment.content_key: links})
    answer = client.post(link, {"answer": "accept"}, follow=True)
    assert answer.redirect_chain == [(link, 303)]
    assert "You have accepted the course. Enjoy it!" in words(answer)
    assert "javascript:" not in answer.content.decode()


def test_a_refusal_of_the_ledger_is_shown_and_the_assignment_is_open_again(
    client: Client, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise LedgerError("The books are closed.")

    monkeypatch.setattr(ledger, "spend", refuse)
    answer = client.post(link, {"answer": "accept"}, follow=True)
    assert "Accepting failed" in words(answer)
    assert "Accept" in words(answer)


def test_the_page_says_that_accepting_is_not_finished(
    client: Client, assignment: LearnerContentAssignment, link: str
) -> None:
    begun = redemption.begin(assignment, now=NOW)
    actions.claim(now=NOW, lease=timedelta(minutes=4), limit=1, pks=[begun.pk])
    answer = client.post(link, {"answer": "accept"}, follow=True)
    assert "Accepting takes a moment longer than usual." in words(answer)
    assert "that is not finished yet" in words(client.get(link))
    assert "Decline" not in words(client.get(link))


# -- Declining ----------------------------------------------------------------------------------------------


def test_declining_frees_the_money_and_keeps_the_reason(
    client: Client, assignment: LearnerContentAssignment, link: str
) -> None:
    seen = words(decline(client, link, "No <b>time</b>."))
    assert "You have declined the course." in seen
    assert "You declined this assignment. To take it after all, ask your organisation" in seen
    assert (state(), Budget.objects.get().reserved_cents) == (State.CANCELLED, 0)
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=assignment.budget.customer))
    page = client.get(f"/assignments/{assignment.uuid}/")
    assert '<span class="chip chip-warning">Declined</span>' in page.content.decode()
    assert "No &lt;b&gt;time&lt;/b&gt;." in page.content.decode()


def test_declining_twice_says_so(client: Client, link: str) -> None:
    decline(client, link)
    assert "You have declined the course before." in words(decline(client, link))


def test_a_reason_that_is_too_long_is_refused_with_what_to_do(client: Client, link: str) -> None:
    seen = words(decline(client, link, "x" * 1001))
    assert "The reason has 1001 characters; 1000 are allowed. Shorten the reason" in seen
    assert state() == State.ALLOCATED


def test_a_declined_course_cannot_be_accepted(client: Client, link: str) -> None:
    decline(client, link)
    assert accept(client, link).headers["Location"] == link
    assert "You declined this assignment." in words(client.get(link))
    assert not LedgerEntry.objects.exists()


def test_an_accepted_course_cannot_be_declined(client: Client, link: str) -> None:
    accept(client, link)
    assert "You have already accepted this course. To leave it, ask your organisation." in words(
        decline(client, link)
    )
    assert state() == State.ACCEPTED


def test_an_answer_that_is_neither_does_nothing(client: Client, link: str) -> None:
    assert client.post(link, {"answer": "maybe"}).headers["Location"] == link
    assert state() == State.ALLOCATED


@pytest.mark.parametrize("catalog_lost_it", [True, False])
def test_what_cannot_be_joined_any_more_is_shown_with_the_reason_and_can_be_declined(
    client: Client, link: str, catalog_lost_it: bool
) -> None:
    sentence = "The catalog does not offer this for enrolment."
    ContentMetadata.objects.update(offered=False)
    if catalog_lost_it:
        CatalogMembership.objects.all().delete()
        sentence = "This is no longer in your organisation's catalog."

    page = client.get(link)
    assert sentence in words(page)
    assert 'value="accept"' not in page.content.decode()
    accept(client, link)
    assert state() == State.ALLOCATED
    assert "You declined this assignment." in words(decline(client, link, "It is gone."))
    assert (state(), Budget.objects.get().reserved_cents) == (State.CANCELLED, 0)


# -- What ended ---------------------------------------------------------------------------------------------


def test_a_cancelled_assignment_cannot_be_accepted(
    client: Client, assignment: LearnerContentAssignment, link: str
) -> None:
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    seen = words(client.get(link))
    assert "Your organisation cancelled this assignment. To take it after all, ask" in seen
    assert "Accept" not in seen
    assert "cancelled this assignment" in words(decline(client, link))


def test_a_passed_deadline_says_so_before_the_sweep_comes(client: Client, link: str) -> None:
    LearnerContentAssignment.objects.update(expires_at=NOW)
    seen = words(client.get(link))
    assert "State Expired" in seen
    assert "The deadline for accepting this assignment has passed." in seen
    assert "Accept" not in seen


def test_what_was_reversed_says_so(client: Client, link: str) -> None:
    accept(client, link)
    redemption.reverse(LedgerEntry.objects.get().uuid, now=NOW)
    assert "You left this course" in words(client.get(link))


# -- Links that open nothing --------------------------------------------------------------------------------


CUT = "This link is not complete: its end is missing."
CHANGED = "This link is not as it was sent: something in it was changed."


def test_a_link_that_is_cut_or_changed_is_not_found(client: Client, link: str) -> None:
    half, forged = link[: len(link) // 2] + "/", link[:-2] + ("A" if link[-2] != "A" else "B") + "/"
    cut = dict.fromkeys((link[:-2] + "/", half, "/a/x/", "/a/%00/"), CUT)
    for broken, why in {**cut, forged: CHANGED, f"/a/{'x' * 5000}/": CHANGED}.items():
        for answer in (client.get(broken), accept(client, broken)):
            assert answer.status_code == 404
            assert why in words(answer)
            assert "Open the mail again and press the button there" in words(answer)
            assert "Larkspur" not in words(answer)


def test_a_revoked_link_is_gone_and_offers_no_other(
    client: Client, assignment: LearnerContentAssignment, link: str, clock: Clock
) -> None:
    signed_links.revoke(assignment, now=NOW)
    for clock.now in (NOW, TOO_LATE):
        for answer in (client.get(link), accept(client, link), client.post(link, {"answer": "new-link"})):
            assert answer.status_code == 410
            assert "it was revoked or replaced by a newer one" in words(answer)
            assert "Send me" not in words(answer)
            assert "The link is from Larkspur Logistics . Questions? Ask there." in words(answer)
            assert "Tidal" not in words(answer)
    assert state() == State.ALLOCATED
    assert (ActionType.REMINDED, Status.PENDING) not in timeline(assignment)


def test_a_link_to_the_wrong_address_is_gone_once_it_is_put_right(
    client: Client, assignment: LearnerContentAssignment, link: str
) -> None:
    address_corrections.correct_assignment(assignment, address=BOB, now=NOW)
    assert accept(client, link).status_code == 410
    assert state() == State.ALLOCATED


def test_an_old_link_is_gone_and_a_new_one_is_sent_to_the_address_on_file(
    client: Client, assignment: LearnerContentAssignment, link: str, clock: Clock
) -> None:
    Customer.objects.update(contact_email="learning@larkspur.example")
    world.deliver()
    clock.now = TOO_LATE
    for answer in (client.get(link), accept(client, link)):
        assert answer.status_code == 410
        assert "Send me a new link" in words(answer)
        assert 'href="mailto:learning@larkspur.example"' in answer.content.decode()
        assert ALICE not in words(answer)
    for sentence in ("We are sending a new link", "We have already sent a new link today"):
        answer = client.post(link, {"answer": "new-link"})
        assert (answer.status_code, sentence in words(answer)) == (200, True)
        world.deliver(now=TOO_LATE)
    reminded = action_of(assignment, ActionType.REMINDED)
    assert (reminded.dedup_key, reminded.recipient) == ("link-2026-03-17", ALICE)
    assert state() == State.ALLOCATED


def test_asking_for_another_link_by_one_that_works_leads_to_the_page(
    client: Client, assignment: LearnerContentAssignment, link: str
) -> None:
    world.deliver()
    answer = client.post(link, {"answer": "new-link"})
    assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert (ActionType.REMINDED, Status.PENDING) not in timeline(assignment)


def test_an_old_link_to_what_is_not_open_leads_nowhere(
    client: Client, assignment: LearnerContentAssignment, link: str, clock: Clock
) -> None:
    cancel(assignment.budget, uuids=[assignment.uuid], now=NOW)
    clock.now = TOO_LATE
    for answer in (client.get(link), client.post(link, {"answer": "new-link"})):
        assert answer.status_code == 410
        assert "Send me" not in words(answer)
        assert "Look for a newer mail, or ask your organisation." in words(answer)


def test_one_learners_link_answers_for_that_learner_alone(client: Client) -> None:
    budget, content = world.given_budget(), world.given_content()
    alice, bob = world.allocate(budget, content, ALICE, BOB).assignments(Verdict.NEW)
    decline(client, f"/a/{signed_links.token_for(alice, address=ALICE, now=NOW)}/")
    states = dict(LearnerContentAssignment.objects.values_list("pk", "state"))
    assert states == {alice.pk: State.CANCELLED, bob.pk: State.ALLOCATED}
