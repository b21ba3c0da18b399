"""What every test may use. The databases themselves come from `tests/databases.py`."""

import gc
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from pytest_django import Settings

from tests.smtp import MailServer, mail_server

# What asks no database, or asks nothing that engines answer differently, runs in the other half alone.
ONE_HALF_IS_ENOUGH = [
    *("architecture", "docs"),  # read the code and the pages
    *("catalog", "enterprise_catalog", "upstream"),  # parse, and talk HTTP
    *("config", "api/test_schema.py"),  # the command, its settings, and the API's description of itself
    *("delivery/test_files.py", "delivery/test_smtp.py"),  # put mails into folders and sockets
    "faults/test_an_hour_of_outage.py",  # is about HTTP; how rows are refreshed is asked on both in replica/
]
collect_ignore = ONE_HALF_IS_ENOUGH if os.environ.get("BURSARY_TEST_DB") == "postgres" else []


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Keep the test database of SQLite in a file: in memory, threads could not share it."""
    if connection.vendor == "sqlite":
        settings.DATABASES["default"]["TEST"]["NAME"] = str(Path(settings.VAR_DIR, "tests.sqlite3"))


@pytest.fixture(scope="session")
def empty_database(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every table and no row, to be copied: a process takes seconds to make its own."""
    file = tmp_path_factory.mktemp("empty") / "bursary.sqlite3"
    made = sqlite3.connect(connection.settings_dict["NAME"])
    try:
        made.execute("VACUUM INTO ?", [str(file)])
    finally:
        made.close()
    file.chmod(0o600)
    return file


def pytest_configure() -> None:
    """Set aside what costs time in each test and is not what tests are about."""
    gc.set_threshold(50_000, 20, 100)  # a test leaves little behind, and is soon over
    # Files are looked for when they are asked for: every test client would list them all anew.
    settings.WHITENOISE_AUTOREFRESH = True
    # Good hashes are slow by design.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        # As for PostgreSQL: nobody minds if this file does not outlive a power cut.
        settings.DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"


def pytest_collection_finish() -> None:
    """Let the collector of garbage pass over what will be there to the end: the code, and the tests."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no worker is busy with it when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("takes_long") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("postgres_only") and connection.vendor == "sqlite":
        pytest.skip("needs row locks: runs in the PostgreSQL half of `make test`")


@pytest.fixture
def mail(settings: Settings) -> Iterator[MailServer]:
    """A real mail server on loopback, to which the service sends."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server
