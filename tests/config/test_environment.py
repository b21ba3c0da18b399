"""A setting that cannot be read is named in a sentence, and none of its passwords is printed."""

from collections.abc import Callable

import pytest
from django.core.checks import WARNING, run_checks
from django.core.exceptions import ImproperlyConfigured

from bursary.config import environment
from bursary.ops.console import SETTINGS
from tests.docs.test_settings import READ

NAME = "BURSARY_TEST"
NO_URL = ["https://[::1", "https://user:secret-word@host:many", "https://user:secret-word@[host]"]


def of_mail(name: str) -> object:
    return environment.email_config(name, default="smtp://127.0.0.1")


def of_database(name: str) -> object:
    return environment.database_config(name, default="sqlite:////srv/bursary.sqlite3")


@pytest.mark.parametrize(
    ("read", "values"),
    [
        (lambda name: environment.flag(name, default=False), ["perhaps", "2", "ja"]),
        (lambda name: environment.whole_number(name, default=1), ["many", "1.5", "9" * 10, "-" + "9" * 10]),
        (lambda name: environment.number(name, default=2), ["", "two", "nan", "inf", "1e10"]),
        (lambda name: environment.port(name, default=8000), ["http", "-1", "65536", "9" * 5000]),
        (environment.url, NO_URL),
        (environment.urls, [f"https://learn.example.org,{one}" for one in NO_URL]),
        (of_mail, ["smtp://user:secret-word@[::1", "bogus://user:secret-word@host", "anymail://[x"]),
        (of_database, ["postgres://user:secret-word@[::1/bursary", "bogus://user:secret-word@host"]),
    ],
    ids=["flag", "whole number", "number", "port", "url", "urls", "mail", "database"],
)
def test_what_cannot_be_read_is_named_without_its_password(
    read: Callable[[str], object], values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in values:
        monkeypatch.setenv(NAME, value)
        with pytest.raises(ImproperlyConfigured, match=NAME) as refused:
            read(NAME)
        assert "secret-word" not in str(refused.value), value


@pytest.mark.parametrize(
    ("read", "missing", "values"),
    [
        (
            environment.url,
            "no host",
            ["https://", "https:", "http:///path", "https://:8000", "https://u:secret-word@", "amqp://"],
        ),
        (environment.url, "no path", ["file://", "file:///", "unix://", "redis+socket://"]),
        (of_mail, "no folder", ["filemail://", "filemail:///", "filemail:////"]),
        (
            of_database,
            "no database",
            ["postgres://", "postgres://db.example.org", "postgres://u:secret-word@db/", "mysql:///"],
        ),
        (of_database, "no file", ["sqlite://", "sqlite:///", "sqlite:////", "sqlite://:memory:"]),
    ],
    ids=["host", "path", "folder", "database", "file"],
)
def test_the_part_of_a_url_that_is_empty_is_named(
    read: Callable[[str], object], missing: str, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in values:
        monkeypatch.setenv(NAME, value)
        with pytest.raises(ImproperlyConfigured, match=f"{NAME} names {missing} ") as refused:
            read(NAME)
        assert "secret-word" not in str(refused.value), value


def test_a_database_may_be_reached_by_a_socket_or_named_by_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("postgres:///bursary", "postgres://user@/bursary", "postgres://?service=bursary"):
        monkeypatch.setenv(NAME, value)
        assert of_database(NAME)


@pytest.mark.parametrize("read", [environment.whole_number, environment.number, environment.flag])
def test_a_long_value_is_quoted_in_part(read: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "x" * 5000)
    with pytest.raises(ImproperlyConfigured, match=NAME) as refused:
        read(NAME, default=1)
    assert len(str(refused.value)) < 120


def test_an_empty_port_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "")
    assert environment.port(NAME, default=8000) == 8000


def test_a_flag_is_on_or_off_in_the_usual_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for default in (True, False):
        assert environment.flag(NAME, default=default) is default
    for text, on in (
        ("true", True),
        ("On", True),
        ("1", True),
        (" no ", False),
        ("False", False),
        ("", False),
    ):
        monkeypatch.setenv(NAME, text)
        assert environment.flag(NAME, default=True) is on, text


def test_urls_stay_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (
        "file:///srv/catalog/",
        "redis+socket:///run/redis.sock",
        "HTTPS://Catalog.example.org:8443/api?x=1#",
        "",
    ):
        monkeypatch.setenv(NAME, text)
        assert environment.url(NAME) == text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BURSARY_EMIAL_URL", "BURSARY_EMAIL_URL"),
        ("BURSARY_MAIL_URL", "BURSARY_EMAIL_URL"),
        ("BURSARY_DATABSE_URL", "BURSARY_DATABASE_URL"),
        ("BURSARY_WEBHOOK_SECRET", "BURSARY_WEBHOOK_SECRETS"),
        ("BURSARY_LINKS_DAYS", "BURSARY_LINK_DAYS"),
    ],
)
def test_a_setting_that_is_misspelt_is_named_with_the_one_that_is_meant(name: str, meant: str) -> None:
    assert environment.misspelt(["HOME", name, meant]) == {name: meant}


def test_what_is_like_no_setting_or_a_mail_providers_is_not_called_misspelt() -> None:
    others = [
        "BURSARY_IMAGE",
        "BURSARY_TEST_DB",
        "BURSARY_ANYMAIL_POSTMARK_SERVER_TOKEN",
        "EMIAL_URL",
        "BURSARY_",
    ]
    assert environment.misspelt(others) == {}


def test_every_setting_is_known_by_its_name() -> None:
    assert {
        name for name in READ if not name.startswith(environment.PROVIDERS_PREFIX)
    } <= environment.env.read


def test_a_misspelt_setting_is_a_warning_of_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURSARY_EMIAL_URL", "smtp://mail.larkspur.test:25")

    (found,) = run_checks(tags=[SETTINGS])

    assert (found.id, found.level) == ("bursary.W052", WARNING)
    assert found.msg == "BURSARY_EMIAL_URL is no setting, and nothing reads it."
    assert found.hint == "Did you mean BURSARY_EMAIL_URL?"
