"""What every test may use. The databases themselves come from `tests/databases.py`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from pytest_django import Settings

from tests.smtp import MailServer, mail_server

# What asks no database, or asks nothing that engines answer differently, runs in the other half alone.
collect_ignore = (
    ["architecture", "catalog", "docs", "enterprise_catalog", "upstream"]
    if os.environ.get("BURSARY_TEST_DB") == "postgres"
    else []
)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Keep the test database of SQLite in a file: in memory, threads could not share it."""
    if connection.vendor == "sqlite":
        settings.DATABASES["default"]["TEST"]["NAME"] = str(Path(settings.VAR_DIR, "tests.sqlite3"))


def pytest_configure() -> None:
    """Look for static files when they are asked for: every test client would list them all anew."""
    settings.WHITENOISE_AUTOREFRESH = True


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("postgres_only") and connection.vendor == "sqlite":
        pytest.skip("needs row locks: runs in the PostgreSQL half of `make test`")


@pytest.fixture
def mail(settings: Settings) -> Iterator[MailServer]:
    """A real mail server on loopback, to which the service sends."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "bursary.delivery.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server
