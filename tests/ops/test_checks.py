"""Combinations of settings that would do harm are refused, each by its own number."""

import sys
from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import Tags, run_checks
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from pytest_django import Settings

from bursary.config.environment import email_config
from bursary.ops import storage
from bursary.ops.console import SETTINGS
from tests import issuer, world


def ids() -> list[str | None]:
    """Return what is found by the checks that every command asks."""
    return [found.id for found in run_checks(tags=[SETTINGS])]


def test_every_command_asks_all_checks_but_those_that_read_data() -> None:
    checks: list[Any] = registry.get_checks()
    ours = [one for one in checks if one.__module__.startswith("bursary.")]
    reading = {"check_work", "check_server", "check_indexes"}
    assert {one.__name__ for one in ours if SETTINGS not in one.tags} == reading


def test_the_defaults_are_fine() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("LEASE", timedelta(seconds=59), "bursary.E001"),
        ("EXECUTOR", "pigeons", "bursary.E002"),
        ("CATALOG_URL", "ftp://catalog.example/", "bursary.E003"),
        ("CATALOG_URL", "https://me:secret@catalog.example/", "bursary.E003"),
        ("CATALOG_URL", "https://catalog.example/?key=secret", "bursary.E003"),
        ("CATALOG_URL", "https://catalog.example/", "bursary.E011"),
        ("CATALOG_URL", "file:relative", "bursary.E003"),
        ("EMAIL_TIMEOUT", 61, "bursary.E004"),
        ("EMAIL_TIMEOUT", 0, "bursary.E004"),
        ("BASE_URL", "bursary.example.org", "bursary.E005"),
        ("BASE_URL", "ftp://bursary.example.org", "bursary.E005"),
        ("BASE_URL", "https://", "bursary.E005"),
        ("CLOCK", "sundial", "bursary.E007"),
        ("LINK_AGE", timedelta(0), "bursary.E008"),
        ("LINK_AGE", timedelta(days=367), "bursary.E008"),
        ("CONTENT_FRESH_FOR", timedelta(0), "bursary.E009"),
        ("CONTENT_READ_DEADLINE", timedelta(0), "bursary.E010"),
        ("CONTENT_READ_DEADLINE", timedelta(hours=1), "bursary.E010"),
        ("UPSTREAM_DEADLINE", timedelta(0), "bursary.E012"),
        ("UPSTREAM_DEADLINE", timedelta(hours=1), "bursary.E012"),
        ("EVENT_BUS_URL", "kafka://bus.example", "bursary.E013"),
        ("WEBHOOK_SECRETS", ["whsec_c2hvcnQ="], "bursary.E014"),
        ("WEBHOOK_SECRETS", ["no base64, however long it may be"], "bursary.E014"),
        ("CONTENT_READS", "replcia", "bursary.E016"),
        ("COURSEWARE_URL", "https://learning.example/course/home", "bursary.E021"),
        ("COURSEWARE_URL", "learning.example/course/{run}/home", "bursary.E021"),
        *(
            (f"KEEP_{kind}", timedelta(days=days), "bursary.E060")
            for kind in ("MAILS", "ATTEMPTS", "CHANGES", "EXPORTS", "EVENTS", "ANSWERS")
            for days in (0, 36_501)
        ),
    ],
)
def test_a_setting_that_would_do_harm_is_refused(
    settings: Settings, setting: str, value: object, expected: str
) -> None:
    setattr(settings, setting, value)

    assert ids() == [expected]


@pytest.mark.parametrize(
    "sender",
    [
        *("no address", "", "bursary", "bursary@", "@larkspur.example", "Bursary <>", "a@larkspur.example\n"),
        *(
            "Bursary bursary@larkspur.example",
            "a@larkspur.example, b@larkspur.example",
            "a@lark spur.example",
        ),
        "Larkspur, Learning <bursary@larkspur.example>",
    ],
)
def test_a_sender_that_is_not_one_address_is_refused(settings: Settings, sender: str) -> None:
    settings.DEFAULT_FROM_EMAIL = sender
    [refused] = run_checks(tags=[SETTINGS])
    assert refused.id == "bursary.E057"
    assert refused.msg.startswith(f"BURSARY_FROM_EMAIL is {sender!r}: mails cannot be sent from it. It ")


@pytest.mark.parametrize(
    ("sender", "flaw"),
    [
        (
            "Bursary <b\N{LATIN SMALL LETTER U WITH DIAERESIS}@larkspur.example>",
            "Mail cannot be sent to “\N{LATIN SMALL LETTER U WITH DIAERESIS}” (U+00FC LATIN SMALL LETTER U "
            "WITH DIAERESIS) before the @.",
        ),
        (f"{'b' * 300}@larkspur.example", "An address has at most 254 characters."),
        (f"{'b' * 65}@localhost", "The part before the @ has at most 64 characters."),
        (".b@larkspur.example", "It begins with a full stop."),
        (".b@localhost", "It begins with a full stop."),
        ("b@192.0.2.1", "Its domain ends with a digit: it is not complete, or a number."),
        ("a@stra\N{LATIN SMALL LETTER SHARP S}e.test", "They would be sent from a@strasse.test."),
    ],
)
def test_a_sender_has_an_address_that_a_learner_may_have_and_mails_name_it_as_it_is_set(
    settings: Settings, sender: str, flaw: str
) -> None:
    settings.DEFAULT_FROM_EMAIL = sender
    assert [one.msg for one in run_checks(tags=[SETTINGS])] == [
        f"BURSARY_FROM_EMAIL is {sender!r}: mails cannot be sent from it. {flaw}"
    ]


@pytest.mark.parametrize(
    "sender",
    [
        *(
            "bursary@localhost",
            "Bursary <bursary@localhost>",
            "Ada.Admin@Larkspur.Example",
            "B\N{LATIN SMALL LETTER O WITH DIAERESIS} <a@b.test>",
        ),
        *(
            '"Larkspur, Learning" <bursary@larkspur.example>',
            "<a@b\N{LATIN SMALL LETTER U WITH DIAERESIS}.test>",
        ),
    ],
)
def test_a_sender_is_an_address_or_a_name_and_an_address(settings: Settings, sender: str) -> None:
    settings.DEFAULT_FROM_EMAIL = sender
    assert ids() == []


@pytest.mark.parametrize(
    ("setting", "value", "flaw"),
    [
        ("CATALOG_URL", "ftp://catalog.example/", "has no known scheme"),
        ("CATALOG_URL", "https://catalog.example/?key=secret", "contains a password, a query or a fragment"),
        ("CATALOG_URL", "file:relative", "names no absolute path"),
        ("CATALOG_URL", "file://elsewhere/srv/catalogs/", "names another machine"),
        ("METRICS_TOKEN", "short", "is shorter than 20 characters"),
        ("METRICS_TOKEN", "of two words, and twenty characters", "is not valid in a header"),
        ("GETS_PER_MINUTE", -1, "is below 0"),
        ("EVENT_BUS_URL", "kafka://bus.example", "is not the URL of a Redis"),
    ],
)
def test_what_is_wrong_with_a_setting_is_said_and_nothing_else(
    settings: Settings, setting: str, value: object, flaw: str
) -> None:
    setattr(settings, setting, value)
    assert [one.msg for one in run_checks()] == [f"BURSARY_{setting} {flaw}."]


TRUST = {"JWT_ISSUER": "https://lms.example", "JWT_AUDIENCE": "openedx"}
LONG_SECRET = "made up, of thirty-two characters"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"JWT_ISSUER": "https://lms.example"}, ["bursary.E030"]),
        ({"JWT_AUDIENCE": "openedx"}, ["bursary.E030"]),
        ({"JWT_JWK_SET_URL": "https://lms.example/jwks.json"}, ["bursary.E030"]),
        (TRUST, ["bursary.E030"]),
        (TRUST | {"JWT_JWK_SET_URL": "https://lms.example/jwks.json"}, []),
        (TRUST | {"JWT_JWK_SET_URL": "http://127.0.0.1:18000/jwks.json"}, []),
        (TRUST | {"JWT_JWK_SET_URL": "http://lms.example/jwks.json"}, ["bursary.E032"]),
        (TRUST | {"JWT_JWK_SET_URL": "https://lms.example/jwks.json?a=b"}, ["bursary.E032"]),
        (TRUST | {"JWT_JWK_SET_URL": f"https://lms.example/{'a' * 240}"}, ["bursary.E032"]),
        (TRUST | {"JWT_JWK_SET_URL": "https://lms.example/k", "JWT_SECRET": LONG_SECRET}, ["bursary.E030"]),
        (TRUST | {"JWT_JWK_SET": issuer.jwk_set("first"), "JWT_SECRET": LONG_SECRET}, ["bursary.E030"]),
        (TRUST | {"JWT_JWK_SET": issuer.jwk_set("first")}, []),
        (TRUST | {"JWT_JWK_SET": '{"keys": [{"kty": "oct", "k": "eA"}]}'}, ["bursary.E031"]),
        (TRUST | {"JWT_JWK_SET": "{"}, ["bursary.E031"]),
        (TRUST | {"JWT_SECRET": LONG_SECRET}, []),
        (TRUST | {"JWT_SECRET": "short"}, ["bursary.E033"]),
        (TRUST | {"JWT_SECRET": LONG_SECRET, "BASE_URL": "https://bursary.example"}, ["bursary.E033"]),
        ({"CLIENT_ORIGINS": ["https://portal.example", "http://localhost:1991"]}, []),
        ({"CLIENT_ORIGINS": ["*"]}, ["bursary.E034"]),
        ({"CLIENT_ORIGINS": ["null"]}, ["bursary.E034"]),
        ({"CLIENT_ORIGINS": ["https://*.example"]}, ["bursary.E034"]),
        ({"CLIENT_ORIGINS": ["https://portal.example/"]}, ["bursary.E034"]),
        ({"CLIENT_ORIGINS": ["https://Portal.example"]}, ["bursary.E034"]),
        ({"CLIENT_ORIGINS": ["http://portal.example"]}, ["bursary.E034"]),
        (
            {"CLIENT_ORIGINS": ["https://portal.example"], "BASE_URL": "http://bursary.example"},
            ["bursary.E035"],
        ),
        ({"POSTS_PER_MINUTE": 0, "GETS_PER_MINUTE": 0}, []),
        ({"POSTS_PER_MINUTE": -1}, ["bursary.E039"]),
    ],
)
def test_wrong_combinations_for_tokens_and_origins_are_named(
    settings: Settings, changes: dict[str, Any], expected: list[str]
) -> None:
    settings.BASE_URL = "http://127.0.0.1:8000"
    for name, value in changes.items():
        setattr(settings, name, value)
    assert ids() == expected


@pytest.mark.parametrize(
    ("provider", "secrets", "expected"),
    [
        ("mailgun", {"MAILGUN_API_KEY": "key"}, []),
        ("resend", {"RESEND_API_KEY": "key", "RESEND_SIGNING_SECRET": f"whsec_{'c2' * 16}"}, []),
        ("", {}, ["bursary.E050"]),
        ("key@mailgun", {}, ["bursary.E050"]),
        ("mailgum", {}, ["bursary.E052"]),
        ("mailgun", {"RESEND_API_KEY": "s3cret"}, ["bursary.E053"]),
        ("resend", {"RESEND_API_KEY": "key", "RESEND_SIGNING_SECRET": "s3cret"}, ["bursary.E054"]),
        ("mailgun", {"MAILGUN_API_KEY": "key", "MAILGUN_WEBHOOK_SIGNING_KEY": "s3 cret"}, ["bursary.E055"]),
        ("mailgun", {"MAILGUN_API_KEY": "key", "WEBHOOK_SECRET": "s3cret"}, ["bursary.E056"]),
    ],
)
def test_a_mail_provider_without_its_settings_is_refused_in_a_sentence_without_secrets(
    settings: Settings, provider: str, secrets: dict[str, str], expected: list[str]
) -> None:
    settings.EMAIL_BACKEND = "bursary.delivery.provider_backend.configured"
    settings.MAIL_PROVIDER, settings.ANYMAIL = provider, secrets
    found = run_checks()
    assert [one.id for one in found] == expected
    assert not any("cret" in f"{one.msg}" and "s3" in f"{one.msg}" for one in found)


def test_a_mail_url_may_name_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURSARY_EMAIL_URL", "anymail://mailgun")
    read = email_config("BURSARY_EMAIL_URL", default="")
    assert read == {
        "EMAIL_BACKEND": "bursary.delivery.provider_backend.configured",
        "MAIL_PROVIDER": "mailgun",
    }


def test_a_mail_url_without_a_host_is_refused(settings: Settings) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST = "bursary.delivery.smtp_backend.SmtpEmailBackend", None
    assert ids() == ["bursary.E017"]


@pytest.mark.parametrize("url", ["", "mail.example.org:25", "smtp://me:s3cret@mail.example.org:port"])
def test_a_mail_url_that_cannot_be_read_is_named_without_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BURSARY_EMAIL_URL", url)
    with pytest.raises(ImproperlyConfigured, match="BURSARY_EMAIL_URL is not the URL") as refused:
        email_config("BURSARY_EMAIL_URL", default="filemail:////srv/mail")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("executor", "clock", "broker_url", "expected"),
    [
        ("celery", "celery", "redis://127.0.0.1:6379/0", []),
        ("celery", "none", "amqp://me:secret@127.0.0.1:5672//", []),
        ("celery", "thread", "redis://127.0.0.1:6379/0", ["bursary.E018"]),
        ("thread", "celery", "redis://127.0.0.1:6379/0", ["bursary.E018"]),
        ("celery", "celery", "", ["bursary.E019"]),
        ("celery", "celery", "sqs://me:secret@", ["bursary.E019"]),
    ],
)
def test_celery_needs_a_broker_and_shares_its_work_with_no_thread(
    settings: Settings, executor: str, clock: str, broker_url: str, expected: list[str]
) -> None:
    settings.EXECUTOR, settings.CLOCK, settings.BROKER_URL = executor, clock, broker_url
    assert ids() == expected
    assert "secret" not in str(run_checks())


def test_celery_needs_its_extra(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.EXECUTOR = settings.CLOCK = "celery"
    settings.BROKER_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setitem(sys.modules, "celery", None)
    assert ids() == ["bursary.E020"]


def test_an_event_bus_needs_the_extra_that_reads_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EVENT_BUS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setitem(sys.modules, "redis", None)
    assert ids() == ["bursary.E013"]


@pytest.mark.parametrize("unnamed", ["EVENT_GROUP", "EVENT_CONSUMER"])
def test_a_consumer_of_the_event_bus_has_a_name(settings: Settings, unnamed: str) -> None:
    settings.EVENT_BUS_URL = "redis://:s3cret@127.0.0.1:6379/0"
    assert ids() == []
    setattr(settings, unnamed, "")
    assert ids() == ["bursary.E013"]
    assert not any("s3cret" in str(found) for found in run_checks())


@pytest.mark.parametrize(
    ("oauth_url", "secret", "expected"),
    [
        ("https://lms.example", "s3cret", []),
        ("https://lms.example", "", ["bursary.E011"]),
        ("lms.example", "s3cret", ["bursary.E011"]),
        ("https://me:s3cret@lms.example", "s3cret", ["bursary.E011"]),
    ],
)
def test_requests_to_enterprise_catalog_need_credentials(
    settings: Settings, oauth_url: str, secret: str, expected: list[str]
) -> None:
    settings.CATALOG_URL = "https://catalog.example"
    settings.OAUTH_URL, settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = oauth_url, "bursary", secret

    assert ids() == expected
    assert not any("s3cret" in str(found) for found in run_checks())


def test_threads_and_the_rate_of_mails_have_bounds(settings: Settings) -> None:
    settings.RUNNER_THREADS, settings.SENDS_PER_MINUTE = 64, 1_000_000
    assert ids() == []
    settings.RUNNER_THREADS, settings.SENDS_PER_MINUTE = 0, -1
    assert ids() == ["bursary.E036", "bursary.E037"]
    settings.RUNNER_THREADS, settings.SENDS_PER_MINUTE = 65, 1_000_001
    assert ids() == ["bursary.E036", "bursary.E037"]


@pytest.mark.django_db
def test_what_only_the_data_shows_is_a_warning_where_the_database_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.given_assignment(now=timezone.now() + timedelta(days=2))
    monkeypatch.setattr(storage, "LEAST_FREE", 1 << 62)
    found = run_checks(tags=[Tags.database], databases=["default"])
    assert [(one.id, one.msg) for one in found] == [
        ("bursary.W001", "disk_full: see `bursary status`."),
        ("bursary.W001", "work_dated_ahead: see `bursary status`."),
    ]
