"""What answers say to browsers and caches, also where the pages are not this service's own."""

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from bursary.access.models import Role
from bursary.config.proxies import forwarded_address
from tests import world

STRICT = "default-src 'none'; style-src 'self'; script-src 'self'"


@pytest.mark.django_db
def test_everything_but_static_files_is_kept_nowhere_and_runs_no_foreign_script(
    client: Client, subtests: pytest.Subtests
) -> None:
    root = world.given_user(Role.OPERATOR, username="root", is_staff=True, is_superuser=True)
    assignment = world.given_assignment()
    client.force_login(root)
    pages = [
        "/",
        "/nothing/",
        f"/assignments/{assignment.uuid}/",
        "/admin/",
        "/admin/access/user/",
        "/healthz",
        "/api/v1/docs/",
        "/api/v1/docs/?script=",
    ]
    of_api = [
        "/api/v1/subsidy-access-policies/",
        "/api/v1/nothing/",
    ]
    for path in [*pages, *of_api, "/favicon.ico"]:
        with subtests.test(path):
            headers = client.get(path, headers={"accept": "text/html,application/json;q=0.5"}).headers
            assert "no-store" in headers["Cache-Control"]
            policy = headers["Content-Security-Policy"]
            assert policy.startswith(
                STRICT if path not in of_api else "default-src 'none'; script-src 'self'; "
            )
            assert "'unsafe-inline'" not in policy.partition("style-src")[0]
            assert "frame-ancestors 'none'" in policy
    style = client.get("/static/dashboard/bursary.css")
    assert "no-store" not in style.headers["Cache-Control"]
    style.close()


def test_the_icon_is_found_where_browsers_look(client: Client) -> None:
    answer = client.get(reverse("favicon"))
    assert (answer.status_code, answer.headers["Location"]) == (301, "/static/dashboard/bursary.svg")


@pytest.mark.django_db
def test_browsers_are_held_to_https_for_as_long_as_is_set(client: Client, settings: Settings) -> None:
    assert "Strict-Transport-Security" not in client.get("/", secure=True).headers
    # The middleware reads it once.
    settings.SECURE_HSTS_SECONDS = 3600
    fresh = Client()
    assert fresh.get("/", secure=True).headers["Strict-Transport-Security"] == "max-age=3600"
    assert "Strict-Transport-Security" not in fresh.get("/").headers


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ("192.0.2.1", 0, ""),
        ("192.0.2.1", 1, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", 1, "192.0.2.1"),  # the client wrote the first
        ("203.0.113.9, 192.0.2.1, 10.0.0.7", 2, "192.0.2.1"),
        ("192.0.2.1", 2, ""),  # it came past one of the proxies
        ("", 1, ""),
        ("192.0.2.1:4711", 1, "192.0.2.1"),
        ("[2001:db8::1]:4711", 1, "2001:db8::1"),
        ("2001:DB8::1", 1, "2001:db8::1"),
        ("unknown", 1, ""),
        ("<script>", 1, ""),
    ],
)
def test_the_client_s_address_is_what_the_outermost_proxy_added(
    forwarded: str, proxies: int, address: str
) -> None:
    assert forwarded_address(forwarded, proxies=proxies) == address


@pytest.mark.parametrize(("proxies", "address"), [(1, "192.0.2.1"), (0, "10.0.0.7")])
def test_views_and_the_access_log_find_the_client_s_address_where_the_peer_s_was(
    client: Client, settings: Settings, proxies: int, address: str
) -> None:
    settings.PROXIES = proxies
    answer = client.get("/favicon.ico", headers={"x-forwarded-for": "192.0.2.1"}, REMOTE_ADDR="10.0.0.7")
    assert answer.wsgi_request.META["REMOTE_ADDR"] == address
