"""Sessions: what a cookie may hold, and when it signs in no more."""

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bursary.access import sessions
from bursary.access.models import User
from bursary.access.sessions import SessionStore

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada", "ada.admin@larkspur.example", "a long sentence of hers")


def status_with(cookie: str) -> int:
    """Return the status of a request for what needs a sign-in, with this cookie as it is sent."""
    header = f"{settings.SESSION_COOKIE_NAME}={cookie}"
    return Client().get(reverse("policies"), headers={"cookie": header}).status_code


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def key_of(client: Client) -> str:
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def test_a_cookie_that_no_session_has_is_as_none(subtests: pytest.Subtests) -> None:
    without = status_with("")
    cookies = ('"abcdefgh\\000"', '"\\377\\377abcdefgh"', "a" * 5000, "%s%%abcdefgh", "abcdefghijklmnop")
    for cookie in cookies:
        with subtests.test(cookie=cookie[:20]):
            assert status_with(cookie) == without == HTTPStatus.UNAUTHORIZED


def test_a_session_signs_in_until_it_ends_or_has_another_key_or_password(
    ada: User, subtests: pytest.Subtests
) -> None:
    def expire(client: Client) -> None:
        ended = timezone.now() - timedelta(seconds=1)
        Session.objects.filter(session_key=key_of(client)).update(expire_date=ended)

    def give_another_key(client: Client) -> None:
        SessionStore(key_of(client)).cycle_key()

    def change_password(_client: Client) -> None:
        ada.set_password("another sentence of hers")
        ada.save()

    def deactivate(_client: Client) -> None:
        User.objects.filter(pk=ada.pk).update(is_active=False)

    for end in (
        expire,
        give_another_key,
        lambda client: SessionStore(key_of(client)).flush(),
        change_password,
        deactivate,
    ):
        with subtests.test(end=getattr(end, "__name__", "flush")):
            client = signed_in(ada)
            key = key_of(client)
            assert status_with(key) == HTTPStatus.OK
            end(client)
            assert status_with(key) == HTTPStatus.UNAUTHORIZED


def test_a_session_that_django_stored_is_read_as_it_is() -> None:
    """Those from before the upgrade: neither its users nor their other settings are signed out."""
    stored = db.SessionStore()
    stored["chosen"] = "of before"
    stored.save()
    assert SessionStore(stored.session_key)["chosen"] == "of before"


def test_the_sessions_that_match_are_deleted_in_chunks_and_counted(
    ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_AT_ONCE", 2)
    others = key_of(signed_in(User.objects.create_user("grace")))
    for _ in range(5):
        signed_in(ada)

    assert sessions.delete_all(lambda one: one.get_decoded()["_auth_user_id"] == str(ada.pk)) == 5

    assert Session.objects.get().pk == others
