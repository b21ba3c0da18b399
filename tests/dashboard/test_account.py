"""One's own account: API keys and the password, also a forgotten one."""

import re
import threading
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import time_machine
from django.contrib.auth import authenticate
from django.core.mail import EmailMessage
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from bursary.access.models import AccountAddress, ApiKey, Role, User
from bursary.dashboard import account_forms
from bursary.delivery.models import MailServer as MailServerRow
from bursary.lib.logs import without_tokens
from tests.smtp import MailServer
from tests.world import given_customer, given_user

pytestmark = pytest.mark.django_db

committed = pytest.mark.django_db(transaction=True)
"""A thread looks for the account, and sees only what is committed."""

OLD, NEW = "the old pass phrase", "another, longer pass phrase"


@pytest.fixture
def ada() -> User:
    user = given_user(
        Role.ADMINISTRATOR, customer=given_customer(), username="ada", email="Ada@People.example"
    )
    user.set_password(OLD)
    user.save()
    return user


@pytest.fixture
def signed_in(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds between the attempts at a mail, which pass at once."""
    passed: list[float] = []
    monkeypatch.setattr("bursary.dashboard.account_forms.time.sleep", passed.append)
    return passed


def make_key(client: Client, *, name: str, scope: str = "operate", days: int = 0) -> str:
    """Make a key by the page, and return it as the page shows it; empty where it shows none."""
    answer = client.post("/account/", {"name": name, "scope": scope, "days": days})
    shown = re.findall(r'<code class="secret">([^<]+)</code>', answer.content.decode())
    assert len(shown) == (answer.status_code == 200)
    return "".join(shown)


def answer_to(key: str) -> int:
    """Return the status of the API's answer to a request that this key signs in."""
    return (
        Client(headers={"authorization": f"Bearer {key}"})
        .get(reverse("policies"), {"enterprise_customer_uuid": str(uuid4())})
        .status_code
    )


def sent_by(client: Client, address: str, mailbox: list[EmailMessage]) -> list[str]:
    """Ask for a link for this address, and return the texts of the mails that this sent."""
    before = len(mailbox)
    answer = client.post("/forgotten-password/", {"email": address})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/forgotten-password/sent/")
    for thread in threading.enumerate():
        if thread.name == "bursary-password-link":
            thread.join()
    return [str(mail.body) for mail in mailbox[before:]]


def link_in(text: str) -> str:
    [link] = [line.strip() for line in text.splitlines() if "/new-password/" in line]
    assert link.startswith("http://testserver/")
    return link.removeprefix("http://testserver")


def test_a_key_is_shown_once_kept_as_a_digest_and_signs_in(signed_in: Client, ada: User) -> None:
    key = make_key(signed_in, name="HR <b>report</b>")

    row = ApiKey.objects.get()
    assert (row.user, row.name, row.digest) == (ada, "HR <b>report</b>", ApiKey.digest_of(key))
    again = signed_in.get("/account/").content.decode()
    assert key not in again
    assert "HR &lt;b&gt;report&lt;/b&gt;" in again
    assert answer_to(key) != 401


def test_a_learner_gets_no_key_by_sending_the_form_that_the_page_does_not_have(client: Client) -> None:
    client.force_login(given_user(Role.LEARNER, customer=given_customer()))
    assert client.post("/account/", {"name": "report"}).status_code == 404
    assert not ApiKey.objects.exists()


def test_sending_the_form_again_makes_no_second_key(signed_in: Client) -> None:
    assert make_key(signed_in, name="report")
    assert make_key(signed_in, name="report") == ""
    assert ApiKey.objects.count() == 1


def test_twenty_keys_are_the_most(signed_in: Client, ada: User) -> None:
    for number in range(20):
        ApiKey.issue(ada, name=str(number))
    assert make_key(signed_in, name="report") == ""
    assert ApiKey.objects.count() == 20


def test_a_revoked_key_signs_nothing_in_and_is_not_listed(signed_in: Client, ada: User) -> None:
    key = make_key(signed_in, name="report")
    assert signed_in.post(f"/account/keys/{ApiKey.objects.get().pk}/revoke/").status_code == 302
    assert "You have no key." in signed_in.get("/account/").content.decode()
    assert answer_to(key) == 401


def test_revoking_a_key_asks_back_first(signed_in: Client) -> None:
    key = make_key(signed_in, name="report")
    address = f"/account/keys/{ApiKey.objects.get().pk}/revoke/"
    assert f'href="{address}"' in signed_in.get("/account/").content.decode()
    question = signed_in.get(address).content.decode()
    assert "Revoke the key “report”?" in question
    assert "refused from then on" in question
    assert answer_to(key) != 401


def test_no_one_sees_or_revokes_the_key_of_another(signed_in: Client) -> None:
    row, _key = ApiKey.issue(given_user(), name="of another")
    assert "You have no key." in signed_in.get("/account/").content.decode()
    assert signed_in.post(f"/account/keys/{row.pk}/revoke/").status_code == 404
    assert signed_in.get(f"/account/keys/{row.pk}/revoke/").status_code == 404
    row.refresh_from_db()
    assert row.revoked_at is None


@pytest.mark.parametrize("path", ["/account/", "/account/password/", "/account/keys/1/revoke/"])
def test_without_signing_in_or_a_token_of_the_form_nothing_is_done(ada: User, path: str) -> None:
    assert Client().post(path).headers["Location"] == f"/sign-in/?next={path}&unsent=yes"
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(ada)
    assert careful.post(path).status_code == 403


def test_the_hour_of_a_keys_last_use_is_kept_by_one_write_an_hour(
    ada: User, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    row, _key = ApiKey.issue(ada, name="report")
    at = timezone.now().replace(minute=50, second=7)
    row.note_use(now=at)
    row.refresh_from_db()
    assert row.last_used_at == at.replace(minute=0, second=0, microsecond=0)
    with django_assert_num_queries(0):  # type: ignore[operator]  # a fixture's function
        row.note_use(now=at + timedelta(minutes=5))
    row.note_use(now=at + timedelta(minutes=10))
    row.refresh_from_db()
    assert row.last_used_at == at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def test_the_dates_of_keys_are_in_the_zone_of_the_users_organisation(signed_in: Client, ada: User) -> None:
    row, _key = ApiKey.issue(ada, name="report")
    late = datetime(2026, 3, 1, 23, tzinfo=UTC)  # midnight in Madrid
    used, end = late + timedelta(days=1), late + timedelta(days=30)
    ApiKey.objects.filter(pk=row.pk).update(created=late, last_used_at=used, expires_at=end)
    with time_machine.travel(late + timedelta(days=2), tick=False):
        signed_in.force_login(ada)
        page = signed_in.get("/account/").content.decode()
    for shown in (">2 Mar 2026<", ">Tuesday, 3 March 2026, 00:00 (Madrid time)<", ">1 Apr 2026<"):
        assert shown in page


def test_the_page_takes_at_most_twelve_queries(
    signed_in: Client, ada: User, django_assert_max_num_queries: pytest.FixtureRequest
) -> None:
    for number in range(20):
        ApiKey.issue(ada, name=str(number))
    with django_assert_max_num_queries(12):  # type: ignore[operator]  # a fixture's function
        signed_in.get("/account/")


def test_changing_the_password_ends_the_other_sessions(signed_in: Client, ada: User) -> None:
    elsewhere = Client()
    elsewhere.force_login(ada)
    form = {"old_password": OLD, "new_password1": NEW, "new_password2": NEW}
    assert signed_in.post("/account/password/", form).headers["Location"] == "/account/"
    assert authenticate(username="ada", password=NEW) == ada
    assert signed_in.get("/account/").status_code == 200
    assert elsewhere.get("/account/").status_code == 302


@committed
def test_a_forgotten_password_is_set_anew_by_the_link_once(
    client: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    [text] = sent_by(client, "ada@people.example", mailoutbox)
    assert mailoutbox[0].to == ["ada@people.example"]
    link = link_in(text)

    form = client.get(link)
    assert form.status_code == 302
    new = {"new_password1": NEW, "new_password2": NEW}
    assert client.post(form.headers["Location"], new).headers["Location"] == "/sign-in/"

    assert authenticate(username="ada", password=NEW) == ada
    assert "This link does not work any more" in Client().get(link).content.decode()


@committed
def test_a_link_works_for_three_hours(client: Client, ada: User, mailoutbox: list[EmailMessage]) -> None:
    link = link_in(sent_by(client, ada.email, mailoutbox)[0])
    with time_machine.travel(timezone.now() + timedelta(hours=2, minutes=59), tick=False):
        assert Client().get(link).status_code == 302
    with time_machine.travel(timezone.now() + timedelta(hours=3, minutes=1), tick=False):
        assert Client().get(link).status_code == 200


@committed
def test_the_answer_is_the_same_for_an_unknown_address_and_nothing_is_sent(
    client: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    elsewhere = given_user(email="no.password@people.example")
    elsewhere.set_unusable_password()
    elsewhere.save()
    ended = given_user(email="ended@people.example", is_active=False, password=OLD)
    for address in ("unknown@people.example", elsewhere.email, ended.email):
        assert sent_by(client, address, mailoutbox) == []


def test_a_known_address_takes_no_more_queries_than_an_unknown_one_before_the_answer(
    client: Client, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _thread: account_forms._threads.release())
    asked = []
    for address in (ada.email, "unknown@people.example"):
        with CaptureQueriesContext(connection) as queries:
            client.post("/forgotten-password/", {"email": address})
        asked.append([query["sql"] for query in queries])
    assert asked[0] == asked[1] == []


@committed
def test_an_account_is_mailed_at_most_once_in_ten_minutes(
    client: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    now = timezone.now()
    for minutes, mails in ((0, 1), (9, 0), (11, 1)):
        with time_machine.travel(now + timedelta(minutes=minutes), tick=False):
            assert len(sent_by(client, ada.email, mailoutbox)) == mails, minutes


@committed
def test_where_the_mail_fails_the_user_may_ask_again_at_once(
    client: Client,
    ada: User,
    mail: MailServer,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    pauses: list[float],
) -> None:
    settings.EMAIL_PORT = 1
    assert sent_by(client, ada.email, []) == []
    assert pauses == [30, 60, 120, 240]
    ada.refresh_from_db()
    assert ada.reset_mailed_at is None
    assert ada.reset_failed_at is not None
    assert "mail_server_unreachable" in caplog.text
    assert "people.example" not in caplog.text


@committed
def test_a_link_is_sent_once_the_mail_server_is_back(
    client: Client, ada: User, mail: MailServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, pauses = settings.EMAIL_PORT, []
    settings.EMAIL_PORT = 1

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        settings.EMAIL_PORT = works
        MailServerRow.objects.update(due_at=timezone.now())

    monkeypatch.setattr("bursary.dashboard.account_forms.time.sleep", pause)
    sent_by(client, ada.email, [])

    assert pauses == [30]
    assert [one["To"] for one in mail.received] == ["ada@people.example"]
    assert sent_by(client, ada.email, []) == []
    assert len(mail.received) == 1


@committed
def test_an_address_that_is_refused_for_good_is_tried_once(
    client: Client, ada: User, pauses: list[float]
) -> None:
    ada.email = "ada@people.invalid"
    ada.save()
    assert sent_by(client, "ada@people.invalid", []) == []
    assert pauses == []


@committed
def test_a_link_with_another_host_in_the_request_leads_to_this_site(
    ada: User, mailoutbox: list[EmailMessage], settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    [text] = sent_by(Client(headers={"host": "evil.example"}), ada.email, mailoutbox)
    assert "evil.example" not in text
    assert link_in(text)


@committed
def test_logs_leave_out_the_token_of_the_link(
    client: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    link = link_in(sent_by(client, ada.email, mailoutbox)[0])
    token = link.rstrip("/").rpartition("/")[2]
    assert token not in without_tokens(f"GET {link} 302")
    assert "/new-password/" in without_tokens(f"GET {link} 302")


def test_the_addresses_that_one_has_added_are_listed(signed_in: Client, ada: User) -> None:
    AccountAddress.objects.create(user=ada, address="ada@home.example", learner_key="1")
    AccountAddress.objects.create(user=given_user(), address="of@another.example", learner_key="2")
    html = signed_in.get("/account/").content.decode()
    assert "<bdi>ada@home.example</bdi>" in html
    assert "of@another.example" not in html


@pytest.mark.parametrize(("role", "shown"), [(Role.LEARNER, False), (Role.ADMINISTRATOR, True)])
def test_api_keys_are_shown_to_those_that_do_more_than_learn(client: Client, role: Role, shown: bool) -> None:
    user = given_user(role, customer=given_customer())
    client.force_login(user)
    assert ("API keys" in client.get("/account/").content.decode()) is shown
    row, _key = ApiKey.issue(user, name="report")  # of a time when they did
    seen = client.get("/account/").content.decode()
    assert f'href="/account/keys/{row.pk}/revoke/"' in seen
    assert ("Make a key" in seen) is shown
    client.post(f"/account/keys/{row.pk}/revoke/")
    assert ("API keys" in client.get("/account/").content.decode()) is shown


def test_each_problem_of_a_new_password_is_shown(signed_in: Client) -> None:
    form = {"old_password": OLD, "new_password1": "abc123", "new_password2": "abc123"}
    html = signed_in.post("/account/password/", form).content.decode()
    assert "It is too short: use 8 characters or more." in html
    assert "Many people use it, so it is tried first." in html
    form = {"old_password": "wrong", "new_password1": "Ada@People.example", "new_password2": "another one"}
    html = signed_in.post("/account/password/", form).content.decode()
    assert "That is not your present password." in html
    assert "The two are not the same." in html
    form = {"old_password": OLD} | dict.fromkeys(("new_password1", "new_password2"), "Ada@People.example")
    assert "too much like your name" in signed_in.post("/account/password/", form).content.decode()


def test_what_is_wrong_with_a_new_password_stands_where_it_is_typed_first(signed_in: Client) -> None:
    form = {"old_password": OLD, "new_password1": "abc123", "new_password2": "abc123"}
    html = signed_in.post("/account/password/", form).content.decode()
    first, _label, again = html.partition("The new password again")
    assert ("It is too short" in first, "It is too short" in again) == (True, False)


def test_a_forgotten_password_asks_for_the_address_in_the_words_of_the_other_pages(client: Client) -> None:
    assert ">E-mail address</label>" in client.get("/forgotten-password/").content.decode()


def test_a_link_that_has_ended_says_that_signing_in_ends_it(client: Client) -> None:
    assert "It also ends when you sign in" in client.get("/new-password/MQ/x-y/").content.decode()


def test_a_key_is_made_with_the_scope_and_the_end_that_were_chosen(signed_in: Client) -> None:
    before = timezone.now()
    assert make_key(signed_in, name="report", scope="read", days=30)
    key = ApiKey.objects.get()
    assert key.expires_at
    assert (key.scope, (key.expires_at - before).days) == ("read", 30)
    assert make_key(signed_in, name="other", scope="everything") == ""
    assert make_key(signed_in, name="other", days=7) == ""
    assert make_key(signed_in, name="not in\none line") == make_key(signed_in, name="HR\x1b") == ""
    assert make_key(signed_in, name="other")
    assert ApiKey.objects.get(name="other").expires_at is None


def test_a_key_without_an_end_is_not_listed_as_one_that_is_revoked(signed_in: Client) -> None:
    make_key(signed_in, name="other")
    row = signed_in.get("/account/").content.decode().partition("<tbody>")[2].partition("</tr>")[0]
    assert "Works until" in row
    assert ">no end<" in row
    assert "revoked" not in row
