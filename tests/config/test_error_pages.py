"""What a browser shows, and a client of the API reads, where no view answers."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse

from bursary.access.models import Role
from bursary.dashboard import views
from tests import world

pytestmark = pytest.mark.django_db


def seen(answer: Any) -> str:
    html: str = answer.content.decode()
    assert html.startswith("<!doctype html>")
    assert "no-store" in answer.headers["Cache-Control"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    return html


def failing(error: Exception) -> Any:
    def fail(*_args: object, **_more: object) -> None:
        raise error

    return fail


def test_an_address_that_there_is_not_is_a_page_with_the_way_on(client: Client) -> None:
    answer = client.get("/nothing/<script>/")
    assert answer.status_code == 404
    html = seen(answer)
    assert "There is no such page" in html
    assert f'href="{reverse("sign-in")}"' in html
    assert "<script>/" not in html


def test_what_is_not_for_an_account_looks_as_if_it_were_not_there(client: Client) -> None:
    assignment = world.given_assignment()
    client.force_login(world.given_user(Role.ADMINISTRATOR, customer=world.given_customer(name="Other Ltd")))
    answer = client.get(reverse("assignment", args=[assignment.uuid]))
    assert answer.status_code == 404
    assert "There is no such page" in seen(answer)
    assert "Other Ltd" in seen(answer)  # the shell of the account, and the way back


def test_a_form_without_its_token_is_refused_with_what_to_do() -> None:
    browser = Client(enforce_csrf_checks=True)
    answer = browser.post(reverse("sign-in"), {"username": "ada", "password": "secret"})
    assert answer.status_code == 403
    html = seen(answer)
    assert "reload the page, and send the form again" in html
    assert "secret" not in html


def test_a_host_that_is_not_served_is_refused(client: Client) -> None:
    answer = client.get("/", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "This request cannot be read" in seen(answer)


def test_a_page_that_is_not_permitted_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "own_page", failing(PermissionDenied("secret")))
    client.force_login(world.given_user())
    answer = client.get(reverse("own-assignments"))
    assert answer.status_code == 403
    assert "This is not for your account" in seen(answer)
    assert "secret" not in seen(answer)


def test_an_error_is_shown_without_database_session_and_static_files(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    user = world.given_user()
    client.force_login(user)
    client.raise_request_exception = False
    monkeypatch.setattr(views, "overview", failing(RuntimeError("secret")))
    with django_assert_num_queries(2):  # the session and the user: the view's own, none of the page's
        answer = client.get(reverse("home"))
    assert answer.status_code == 500
    html = seen(answer)
    assert "Something went wrong" in html
    assert "style-src 'sha256-" in answer.headers["Content-Security-Policy"]
    for outside in ("src=", "<link", "secret", user.username):
        assert outside not in html


@pytest.mark.parametrize(
    ("path", "host", "status", "reason"),
    [
        ("/api/v2/nothing/", "testserver", 404, "not_found"),
        ("/api/v1/nothing/", "testserver", 404, "not_found"),
        ("/api/v1/subsidy-access-policies/", "evil.example", 400, "invalid_request"),
    ],
)
def test_the_api_answers_in_json(client: Client, path: str, host: str, status: int, reason: str) -> None:
    answer = client.get(path, headers={"host": host})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert {"detail", "next_step"} <= answer.json().keys()


def test_an_error_of_the_api_is_json_without_its_cause(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.raise_request_exception = False
    monkeypatch.setattr("bursary.api.not_found.UnknownURL.initial", failing(RuntimeError("secret")))
    answer = client.get("/api/v1/nothing/")
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal_error")
    assert "secret" not in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
