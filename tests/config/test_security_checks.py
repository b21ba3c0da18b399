"""Settings that would open the service are refused; what an installation lacks is found by `--deploy`."""

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.checks import Tags, run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from bursary.config import security_checks
from bursary.config.secret_key import kept_secret
from bursary.ops import serving
from tests.docs.pages import page

OWN_DATABASE = SimpleNamespace(vendor="postgresql", settings_dict={"PASSWORD": "one of its own"})
PUBLIC = {
    "BASE_URL": "https://bursary.larkspur.test",
    "BEHIND_PROXY": True,
    "PROXIES": 1,
    "SECURE_HSTS_SECONDS": 3600,
    "EMAIL_BACKEND": "bursary.delivery.smtp_backend.SmtpEmailBackend",
    "EMAIL_HOST": "mail.larkspur.test",
    "EMAIL_HOST_PASSWORD": "one of its own",
    "DEFAULT_FROM_EMAIL": "Bursary <bursary@larkspur.test>",
    "SECRET_KEY": "a public service's secret key has at least fifty characters",
    "ALLOWED_HOSTS": ["bursary.larkspur.test"],
    "METRICS_TOKEN": "a token of twenty characters",
    "VAR_DIR_IS_ABSOLUTE": True,
    "EXECUTOR": "celery",
    "BROKER_URL": "redis://127.0.0.1:6379/0",
}


def ids(*, deploy: bool = False) -> list[str | None]:
    found = run_checks(tags=[Tags.security], include_deployment_checks=deploy)
    return [one.id for one in found if not one.is_silenced()]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"SECRET_KEY": "short"}, ["bursary.E040"]),
        ({"DEBUG": True, "BASE_URL": "http://127.0.0.1:8000"}, []),
        ({"DEBUG": True, "BASE_URL": "http://bursary.example.org"}, ["bursary.E041"]),
        ({"DEBUG": True, "BASE_URL": "https://bursary.example.org"}, ["bursary.E041"]),
        ({"BEHIND_PROXY": True, "PROXIES": 0}, ["bursary.E042"]),
        ({"BEHIND_PROXY": True, "PROXIES": 11}, ["bursary.E042"]),
        ({"SECURE_HSTS_SECONDS": -1}, ["bursary.E043"]),
    ],
)
def test_a_setting_that_would_open_the_service_is_refused(
    settings: Settings, changes: dict[str, Any], expected: list[str]
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    assert ids() == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"BASE_URL": "http://bursary.larkspur.test", "SECURE_HSTS_SECONDS": 0}, ["bursary.W040"]),
        ({"BASE_URL": "https://localhost"}, ["bursary.W040"]),
        ({"BEHIND_PROXY": False, "PROXIES": 0}, ["bursary.W041"]),
        ({"EMAIL_BACKEND": "bursary.delivery.file_backend.FileEmailBackend"}, ["bursary.W042"]),
        ({"DEFAULT_FROM_EMAIL": "Bursary <bursary@localhost>"}, ["bursary.W043"]),
        ({"ALLOWED_HOSTS": ["*"]}, ["bursary.W044"]),
        ({"SECURE_HSTS_SECONDS": 0}, ["bursary.W045"]),
        ({"METRICS_TOKEN": ""}, ["bursary.W047"]),
        ({"VAR_DIR_IS_ABSOLUTE": False}, ["bursary.W048"]),
        ({"EXECUTOR": "thread"}, ["bursary.W050"]),
        ({"EXECUTOR": "thread", "BROKER_URL": ""}, []),
        ({"BASE_URL": "https://bursary.example.org"}, ["bursary.W051"]),
        ({"EMAIL_HOST": "mail.example.org"}, ["bursary.W051"]),
        ({"EMAIL_HOST": "example.com"}, ["bursary.W051"]),
        ({"EMAIL_HOST": "mail.counterexample.org"}, []),
        ({"DEFAULT_FROM_EMAIL": "Bursary <bursary@example.org>"}, ["bursary.W051"]),
        ({"EMAIL_HOST_PASSWORD": "password"}, ["bursary.W053"]),
        ({"BROKER_URL": "amqp://bursary:password@mq.larkspur.test:5672/name"}, ["bursary.W053"]),
        ({"SECRET_KEY": "x" * 60}, ["security.W009"]),
        ({"DEBUG": True}, ["bursary.E041", "security.W018"]),
    ],
)
def test_what_a_public_installation_lacks_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], expected: list[str]
) -> None:
    monkeypatch.setattr(security_checks, "connection", OWN_DATABASE)
    for name, value in (PUBLIC | changes).items():
        setattr(settings, name, value)
    assert sorted(filter(None, ids(deploy=True))) == expected


def test_a_public_installation_on_sqlite_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_sqlite = SimpleNamespace(vendor="sqlite", settings_dict={"PASSWORD": ""})
    monkeypatch.setattr(security_checks, "connection", on_sqlite)
    for name, value in PUBLIC.items():
        setattr(settings, name, value)
    assert ids(deploy=True) == ["bursary.W049"]


EXAMPLES = {
    "deploy/bursary.env.example": r"#BURSARY_DATABASE_URL=(\S+)",
    "docs/operations.md": r"export BURSARY_DATABASE_URL=(mysql\S+)",
}


@pytest.mark.parametrize(("file", "line"), EXAMPLES.items())
def test_the_database_password_of_an_example_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, file: str, line: str
) -> None:
    [url] = re.findall(line, page(file))
    copied = SimpleNamespace(vendor="postgresql", settings_dict={"PASSWORD": urlsplit(url).password})
    monkeypatch.setattr(security_checks, "connection", copied)
    for name, value in PUBLIC.items():
        setattr(settings, name, value)
    assert ids(deploy=True) == ["bursary.W053"]


def test_debug_pages_are_served_to_this_machine_alone(settings: Settings) -> None:
    settings.DEBUG = True
    with pytest.raises(serving.CannotListen, match="personal data and settings"):
        serving.listen("0.0.0.0:0")
    serving.listen("127.0.0.1:0").close()


def test_a_new_key_is_on_the_disk_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink()))
    file = tmp_path / "var" / "secret.key"
    key = kept_secret(file)
    assert [one.parent for one in synced] == [file.parent, tmp_path]  # a draft of the key, then the folder
    assert (key, kept_secret(file), file.stat().st_mode & 0o777) == (file.read_text(), key, 0o600)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b"\n", b"half a key", b"\xff" * 64])
def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret.key"
    file.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=r"secret\.key .*Restore it from a backup"):
        kept_secret(file)
    assert file.read_bytes() == content


def test_a_key_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.key").mkdir()
    with pytest.raises(ImproperlyConfigured, match=r"secret\.key cannot be read"):
        kept_secret(tmp_path / "secret.key")
