"""Other origins: their pages may use the API where they are named, exactly, and read its errors, too."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from bursary.budgets.models import Budget
from bursary.config import settings as settings_module
from tests.api.door import Door

pytestmark = pytest.mark.django_db

PORTAL = "https://portal.example"
ASKED = "use-jwt-cookie,x-csrftoken,content-type"
OTHERS = [
    "https://portal.example.evil.example",
    "https://sub.portal.example",
    "http://portal.example",
    "https://portal.example:8443",
    "https://PORTAL.example",
    "null",
    "*",
]


@pytest.fixture(autouse=True)
def _named(settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = [PORTAL]


def preflight(path: str, origin: str, *, method: str = "GET") -> Any:
    return Client().options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": ASKED,
        },
    )


@pytest.mark.parametrize("path", ["/api/v1/subsidy-access-policies/", "/csrf/api/v1/token"])
def test_a_preflight_needs_no_sign_in(path: str) -> None:
    answer = preflight(path, PORTAL, method="POST")

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == PORTAL
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert set(ASKED.split(",")) <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize("origin", OTHERS)
def test_an_origin_that_is_not_named_exactly_is_given_nothing(origin: str) -> None:
    answers = [
        preflight("/api/v1/subsidy-access-policies/", origin),
        Client().get("/csrf/api/v1/token", headers={"Origin": origin}),
    ]
    assert all("Access-Control-Allow-Origin" not in answer.headers for answer in answers)


def test_pages_are_given_to_no_origin() -> None:
    for path in ("/", "/admin/", "/healthz"):
        assert "Access-Control-Allow-Origin" not in Client().get(path, headers={"Origin": PORTAL}).headers


def test_errors_can_be_read_from_a_named_origin(budget: Budget, door: Door) -> None:
    door.client.credentials(**door.client._credentials, HTTP_ORIGIN=PORTAL)
    unknown = door.policy("00000000-0000-4000-8000-000000000000")
    refused = door.post(f"policy-allocation/{budget.uuid}/allocate/", {})
    unsigned = Client().get(f"/api/v1/subsidy-access-policies/{budget.uuid}/", headers={"Origin": PORTAL})
    wrong_host = Client().get("/api/v1/", headers={"Origin": PORTAL, "Host": "evil.example"})

    answers = [unknown, refused, unsigned, wrong_host]
    assert [answer.status_code for answer in answers] == [404, 400, 401, 400]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == PORTAL
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "origin" in answer.headers["Vary"].lower()


def test_the_csrf_token_agrees_with_its_cookie_and_is_not_kept_by_caches() -> None:
    client = Client()
    answer = client.get("/csrf/api/v1/token")
    assert set(answer.json()) == {"csrfToken"}
    assert answer.cookies["csrftoken"].value
    assert "no-store" in answer.headers["Cache-Control"]
    assert client.post("/csrf/api/v1/token").status_code == 405


def settings_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    """Return the settings as they would be read from this environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(Path(settings_module.__file__)))


def test_the_csrf_cookie_alone_crosses_sites_and_only_where_origins_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = "https://bursary.example"
    unnamed = settings_with(monkeypatch, BURSARY_BASE_URL=base)
    named = settings_with(monkeypatch, BURSARY_CLIENT_ORIGINS=f"{PORTAL},https://learn.example")

    assert unnamed.get("CSRF_COOKIE_SAMESITE", "Lax") == "Lax"
    assert unnamed["CSRF_TRUSTED_ORIGINS"] == [base]
    assert unnamed["CORS_ALLOWED_ORIGINS"] == []
    assert (named["CSRF_COOKIE_SAMESITE"], named["CSRF_COOKIE_SECURE"]) == ("None", True)
    assert named["CSRF_TRUSTED_ORIGINS"] == [base, PORTAL, "https://learn.example"]
    assert named["CORS_ALLOWED_ORIGINS"] == [PORTAL, "https://learn.example"]
    assert named.get("SESSION_COOKIE_SAMESITE", "Lax") == "Lax"
    assert not {"CORS_ALLOW_ALL_ORIGINS", "CORS_ALLOWED_ORIGIN_REGEXES"} & set(named)
