"""The pages: permitted users see them; to others they do not exist."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import Role, User
from bursary.assignments import cancellation
from bursary.assignments.models import LearnerContentAssignment
from bursary.replica.models import ContentMetadata
from tests import world

pytestmark = pytest.mark.django_db

MaxQueries = Callable[[int], AbstractContextManager[Any]]


def page(client: Client, address: str = "/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def address_of(assignment: LearnerContentAssignment) -> str:
    return reverse("assignment", args=[assignment.uuid])


def signed_in(client: Client, role: Role | None = None, **fields: Any) -> User:
    user = world.given_user(role, **fields)
    client.force_login(user)
    return user


@pytest.fixture
def failed() -> LearnerContentAssignment:
    """An assignment with a rejected mail."""
    assignment = world.given_assignment(address="nobody@nowhere.invalid")
    world.deliver()
    return assignment


# -- The first page -----------------------------------------------------------------------------------------


def test_the_first_page_says_what_this_is_and_where_to_go(
    client: Client, django_assert_max_num_queries: MaxQueries
) -> None:
    with django_assert_max_num_queries(0):
        html = page(client)

    assert "Bursary assigns courses to the learners of an organisation" in html
    for link in ("/sign-in/", "/api/v1/docs/", "/healthz"):
        assert f'href="{link}"' in html
    assert 'href="/admin/"' not in html


def test_every_page_forbids_scripts_and_may_not_be_kept(client: Client) -> None:
    for address in ("/", "/sign-in/", f"/assignments/{uuid4()}/"):
        headers = client.get(address).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "private" in headers["Cache-Control"]


def test_where_the_demonstrations_passwords_are_is_said_and_they_are_not(
    client: Client, tmp_path: Path, settings: Settings
) -> None:
    settings.VAR_DIR = tmp_path / "var"
    assert "demo.json" not in page(client)

    settings.VAR_DIR.mkdir()
    (settings.VAR_DIR / "demo.json").write_text('{"password": "secret"}')

    html = page(client)
    assert "in the terminal that this was started in, and in the file <code>var/demo.json</code>" in html
    assert "secret" not in html
    assert str(tmp_path) not in html


def test_an_administrator_sees_their_budgets_in_dollars(client: Client) -> None:
    budget = world.given_budget(seats=3, name="Languages")
    world.given_assignment(budget)
    world.given_budget(name="Of another organisation")
    signed_in(client, Role.ADMINISTRATOR, customer=budget.customer)

    html = page(client)

    assert "Languages" in html
    for amount in ("$597.00", "$199.00", "$0.00", "$398.00"):
        assert amount in html
    assert "Of another organisation" not in html
    assert f"{reverse('assignment-list')}?budget={budget.uuid}" in html
    for name in ("assign", "budget"):
        assert reverse(name, args=[budget.uuid]) in html


def test_a_budget_has_no_more_than_its_account_has(client: Client) -> None:
    budget = world.given_budget()
    budget.account.limit_cents = 12_345
    budget.account.save()
    signed_in(client, Role.ADMINISTRATOR, customer=budget.customer)

    html = page(client)

    assert "unlimited" in html
    assert "$123.45" in html


def test_the_first_page_says_what_cannot_be_accepted_any_more_and_why(client: Client) -> None:
    budget, now = world.given_budget(), timezone.now()
    world.given_assignment(budget, (content := world.given_content()), now=now)
    signed_in(client, Role.ADMINISTRATOR, customer=budget.customer)
    sentence = "1 open assignment cannot be accepted any more. The catalog does not offer it for enrolment"
    run = ContentMetadata.objects.get(content_key=content.advertised_run)

    world.change_content(run, now=now, offered=False)
    assert sentence in " ".join(page(client).split())
    world.change_content(run, now=now, offered=True)
    assert sentence not in " ".join(page(client).split())


def test_titles_are_shown_as_upstream_writes_them(client: Client) -> None:
    budget = world.given_budget()
    titled = world.given_assignment(budget, world.given_content(title="Straße & MATLAB for Everyone"))
    nameless = world.given_assignment(budget, world.given_content("RiversideX+Nameless", title=""))
    signed_in(client, Role.ADMINISTRATOR, customer=budget.customer, email=world.ALICE)

    assert titled.content_title == "strasse & matlab for everyone"
    for html in (page(client), page(client, reverse("assignment-list"))):
        assert html.count(">Straße &amp; MATLAB for Everyone<") == 1
        assert html.count(f">{nameless.content_key}<") == 1
        assert "strasse" not in html


def test_an_assignment_of_unknown_content_is_shown_by_its_key(client: Client) -> None:
    assignment = world.given_assignment()
    LearnerContentAssignment.objects.update(content=None)
    signed_in(client, Role.ADMINISTRATOR, customer=assignment.budget.customer)

    assert f">{assignment.content_key}<" in page(client, reverse("assignment-list"))


def test_a_learner_sees_what_is_assigned_to_them_and_no_budget(client: Client) -> None:
    assignment = world.given_assignment(address="Lena@People.example")
    signed_in(client, Role.LEARNER, customer=assignment.budget.customer, email="lena@people.example")

    html = page(client)

    assert address_of(assignment) in html
    assert "Budgets</h2>" not in html
    assert reverse("budgets") not in html


def test_an_operator_sees_every_customer_and_the_way_to_the_admin(client: Client) -> None:
    world.given_budget(name="One")
    world.given_budget(name="Two")
    signed_in(client, Role.OPERATOR, is_staff=True)

    html = page(client)

    assert 'href="/admin/"' in html
    assert "One" in html
    assert "Two" in html


def test_a_user_without_assignments_reads_so(client: Client) -> None:
    signed_in(client)

    assert "you administer no budget" in page(client)


def test_a_full_first_page_takes_few_queries(
    client: Client, django_assert_max_num_queries: MaxQueries
) -> None:
    customer = world.given_customer()
    for _ in range(5):
        world.given_assignment(world.given_budget(customer=customer))
    signed_in(client, Role.ADMINISTRATOR, customer=customer)

    with django_assert_max_num_queries(12) as queries:
        page(client)
    assert "payload" not in str(queries.captured_queries)


# -- Signing in and out -------------------------------------------------------------------------------------


def test_signing_in_leads_to_where_one_was_going(client: Client) -> None:
    assignment = world.given_assignment()
    customer = assignment.budget.customer
    world.given_user(Role.ADMINISTRATOR, customer=customer, username="ada", password="made-up")

    turned_away = client.get(address_of(assignment))
    assert turned_away.headers["Location"] == f"/sign-in/?next={address_of(assignment)}"
    form = client.get(turned_away.headers["Location"]).content.decode()
    assert f'name="next" value="{address_of(assignment)}"' in form
    signed = client.post(
        "/sign-in/", {"username": "ada", "password": "made-up", "next": address_of(assignment)}
    )

    assert signed.headers["Location"] == address_of(assignment)
    assert "Tidal Engines" in page(client, address_of(assignment))


def test_a_wrong_password_is_said_to_be_wrong(client: Client) -> None:
    html = client.post("/sign-in/", {"username": "ada", "password": "guess"}).content.decode()

    assert 'role="alert"' in html
    assert "The user name or the password is wrong" in html
    assert "Your user name is in the mail" in html


def test_signing_in_never_leads_to_another_site(client: Client) -> None:
    world.given_user(username="ada", password="made-up")

    signed = client.post(
        "/sign-in/", {"username": "ada", "password": "made-up", "next": "https://evil.example/"}
    )

    assert signed.headers["Location"] == "/"


def test_signing_out_is_asked_for_by_a_form(client: Client) -> None:
    signed_in(client)
    assert 'action="/sign-out/"' in page(client)

    assert client.get("/sign-out/").headers["Location"] == "/"
    assert "Sign out" in page(client)  # still signed in
    answer = client.post("/sign-out/", follow=True)
    assert (answer.redirect_chain, "You are signed out." in answer.content.decode()) == ([("/", 302)], True)
    assert "Sign in" in page(client)


# -- An assignment ------------------------------------------------------------------------------------------


def test_an_administrator_sees_the_assignment_and_its_timeline(
    client: Client, failed: LearnerContentAssignment
) -> None:
    signed_in(client, Role.ADMINISTRATOR, customer=failed.budget.customer)

    html = page(client, address_of(failed))

    for text in (
        "Tidal Engines",
        "nobody@nowhere.invalid",
        "$199.00",
        "Sunday, 31 May 2026, 11:00 (Madrid time): after that the assignment expires.",
        "Added <bdi>nobody@nowhere.invalid</bdi> to the learners of <bdi>Larkspur Logistics</bdi>.",
        "The invitation to <bdi>nobody@nowhere.invalid</bdi> failed: the address does not exist.",
        "<strong>Correct the address.</strong>",
        "<code>address_rejected</code>",
        "Addresses that end in .invalid cannot receive mail.",
    ):
        assert text in html
    assert "Traceback" not in html


def test_an_operator_sees_stack_traces_too(client: Client, failed: LearnerContentAssignment) -> None:
    signed_in(client, Role.OPERATOR)

    html = page(client, address_of(failed))

    assert re.search(r"<details [^>]*><summary>Stack trace</summary>", html)
    assert "Traceback (most recent call last)" in html


@pytest.mark.parametrize("known_by", ["address", "lms_user_id"])
def test_the_learner_sees_the_course_the_deadline_and_the_state(
    client: Client, known_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: world.NOW)
    assignment = world.given_assignment(address="lena@people.example")
    if known_by == "address":
        signed_in(client, email="LENA@people.example")
    else:
        LearnerContentAssignment.objects.update(lms_user_id=7001)
        signed_in(client, email="other@people.example", lms_user_id=7001)

    html = page(client, address_of(assignment))

    assert "Tidal Engines" in html
    assert "31 May 2026, 11:00 (Madrid time)" in html
    assert '<dt>State</dt><dd><span class="chip chip-info">Waiting for your answer</span>' in html
    assert "Timeline" not in html
    assert "$199.00" not in html


def test_a_cancelled_assignment_has_no_deadline(client: Client) -> None:
    assignment = world.given_assignment(address="lena@people.example")
    cancellation.cancel(assignment.budget, uuids=[assignment.uuid], now=world.NOW)
    signed_in(client, email="lena@people.example")

    html = page(client, address_of(assignment))

    assert "cancelled" in html
    assert "Deadline" not in html


def test_to_other_users_there_is_no_such_assignment(client: Client) -> None:
    assignment = world.given_assignment()
    for role in (Role.ADMINISTRATOR, Role.LEARNER):
        signed_in(client, role, customer=world.given_customer())
        assert client.get(address_of(assignment)).status_code == 404
    signed_in(client, Role.LEARNER, customer=assignment.budget.customer)
    assert client.get(address_of(assignment)).status_code == 404


def test_a_user_without_an_address_and_an_id_owns_nothing(client: Client) -> None:
    assignment = world.given_assignment()
    LearnerContentAssignment.objects.update(learner_key="")
    signed_in(client, email="")

    assert client.get(address_of(assignment)).status_code == 404


def test_an_unknown_assignment_is_not_found(client: Client) -> None:
    signed_in(client, Role.OPERATOR)

    assert client.get(f"/assignments/{uuid4()}/").status_code == 404


def test_what_upstream_calls_a_course_is_shown_and_never_run(client: Client) -> None:
    content = world.given_content(title="<script>alert(1)</script>")
    assignment = world.given_assignment(content=content)
    signed_in(client, Role.ADMINISTRATOR, customer=assignment.budget.customer)

    for html in (page(client, reverse("assignment-list")), page(client, address_of(assignment))):
        assert "<script>" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_work_that_will_be_tried_again_says_when_and_why(client: Client, settings: Settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    assignment = world.given_assignment()
    world.deliver(limit=2)
    signed_in(client, Role.ADMINISTRATOR, customer=assignment.budget.customer)

    html = page(client, address_of(assignment))

    assert f"to <bdi>{world.ALICE}</bdi> could not be sent yet: the mail server does not answer." in html
    assert "tried again 2 Mar 2026, 10:00:" in html
    assert "mail_server_unreachable" in html


def test_signing_in_to_sign_in_leads_home(client: Client) -> None:
    client.force_login(world.given_user())
    answer = client.get("/sign-in/?next=/sign-in/")
    assert (answer.status_code, answer["Location"]) == (302, "/")
