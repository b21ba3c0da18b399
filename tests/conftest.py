"""Fixtures and hooks for every test. The databases themselves come from `tests/databases.py`."""

import gc
import os
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase, client
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker, Settings
from xdist.remote import Producer

from bursary.api import throttling
from bursary.lib import outages
from tests import engines, migrated
from tests.emptying import empty_tables
from tests.ports import reserved
from tests.smtp import MailServer, mail_server
from tests.workers import FileScheduling, import_own_share, is_whole, name_groups

if TYPE_CHECKING:
    from tests.celery_stack import CeleryStack

# How long an example takes says more of what else the machine does than of the code. Each run has the same
# examples; `make soak` has others, and more.
_EXAMPLES = int(os.environ.get("BURSARY_TEST_SOAK", "0"))
hypothesis_settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=not _EXAMPLES,
    max_examples=max(100, 2 * _EXAMPLES),
)
hypothesis_settings.load_profile("any machine")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over what servers do not run. From `collect_ignore` pytest makes all paths anew for each file."""
    return True if collection_path in engines.NOT_COLLECTED else None


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
) -> Iterator[None]:
    """Give the test database of SQLite a file."""
    if connection.vendor != "sqlite":
        yield
        return
    file = migrated.name_own_file()
    yield
    file.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_modify_db_settings: None,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """Make the test database, or copy that of the run."""
    with django_db_blocker.unblock():
        if connection.vendor == "mysql":  # copies no database
            migrated.migrate()
        else:
            migrated.copy_made(request.config)


@pytest.hookimpl(wrapper=True)
def pytest_sessionstart(session: pytest.Session) -> Generator[None, object, object]:
    """Migrate while the processes of the run, which xdist starts in this hook, import and collect."""
    started = yield
    if session.config.pluginmanager.has_plugin("dsession") and (engines.ON_A_SERVER or is_whole(session)):
        migrated.make_ahead(session.config)
    return started


@pytest.fixture(scope="session")
def empty_database(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite file with every table and no row, to be copied: migrating takes a process seconds."""
    file = tmp_path_factory.mktemp("empty") / "bursary.sqlite3"
    migrated.vacuum_into(file)
    return file


def pytest_configure() -> None:
    """Turn off what costs time in each test and is not under test."""
    engines.require_listed()
    gc.set_threshold(50_000, 20, 100)  # a test leaves little garbage
    TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]  # private: not in the stubs
    # A test that commits leaves its connection to the next one: PostgreSQL starts a process for each, which
    # reads the tables' descriptions anew. Tests that set something of a session close it themselves.
    TransactionTestCase._should_reload_connections = lambda _case: False  # type: ignore[attr-defined]  # private, too
    # To say which templates a page is made of, a client copies the context of each. No test asks.
    client.store_rendered_templates = lambda *_args, **_kwargs: None  # type: ignore[attr-defined]
    # Static files are found on request; otherwise every test client lists them all.
    settings.WHITENOISE_AUTOREFRESH = True
    # Password hashes are slow by design.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        # As for PostgreSQL: this file need not survive a power cut.
        settings.DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect garbage from here on: `tests/databases.py` put it off. The code and the tests stay to the end.

    Collecting beforehand what has become garbage would take each process 0.3 s, for few objects.
    """
    if is_whole(session) and not engines.ON_A_SERVER and "PYTEST_XDIST_WORKER" in os.environ:
        import_own_share()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Module, name: str, obj: object
) -> list[pytest.Item | pytest.Collector] | None:
    """Make no items of what a server does not run, more than half; what is named is made and deselected."""
    if not (engines.ON_A_SERVER and is_whole(collector.session) and name.startswith("test")):
        return None
    marks = [*getattr(obj, "pytestmark", ()), *collector.iter_markers()]
    return None if engines.is_run(name, marks, in_full=engines.in_full(collector.path)) else []


def _is_run(item: pytest.Item) -> bool:
    return not engines.ON_A_SERVER or engines.is_run(
        item.name, item.iter_markers(), in_full=engines.in_full(item.path)
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the long tests first, so that no worker is busy with one when the others have finished."""
    config.hook.pytest_deselected(items=[item for item in items if not _is_run(item)])
    items[:] = [item for item in items if _is_run(item)]
    for item in items:
        if "empty_database" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("django_db"):
            item.add_marker(pytest.mark.django_db)  # for which alone pytest-django makes tables
    long = {item.path for item in items if item.get_closest_marker("takes_long")}
    items.sort(key=lambda item: item.path not in long)
    if "PYTEST_XDIST_WORKER" in os.environ:
        name_groups(items)


@pytest.hookimpl(optionalhook=True)  # there is none with `-p no:xdist`
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    """Let workers take whole files."""
    return FileScheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_row_locks") and connection.vendor == "sqlite":
        pytest.skip("needs row locks, or several processes that write: runs on PostgreSQL and MariaDB")
    only = item.get_closest_marker("only_on")
    if only and only.args != (connection.vendor,):
        pytest.skip(f"runs on {only.args[0]}, because {only.kwargs['because']}")


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Let a test begin as a process does: without an outage, or requests counted, of another test."""
    outages.reset()
    throttling.GETS.reset()


@pytest.fixture
def empty_catalog(tmp_path: Path, settings: Settings) -> None:
    """Point the service at a catalog that answers, and holds nothing."""
    file = tmp_path / "empty.jsonl"
    file.touch()
    settings.CATALOG_URL = file.as_uri()


@pytest.fixture(scope="session")
def _celery_stack(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator["CeleryStack"]:
    stacks = import_module("tests.celery_stack")  # Celery takes each process of the test run 0.3 s
    with stacks.celery_stack(tmp_path_factory.mktemp("celery")) as stack:
        yield stack


@pytest.fixture
def celery(
    _celery_stack: "CeleryStack", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator["CeleryStack"]:
    """Point the service at a broker and workers, which the tests of the group `celery` share."""
    stack = _celery_stack
    settings.EXECUTOR = settings.CLOCK = "celery"
    settings.BROKER_URL = stack.broker_url
    settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", stack.mail.port
    broker = import_module("bursary.delivery.broker")
    monkeypatch.setattr(broker, "BROKER", broker.Broker())
    stack.mail.received.clear()
    yield stack
    stack.mail.refuses.clear()
    stack.mail.thinks_for, stack.mail.loses_answers, stack.mail.holds_answers = 0, False, False
    stack.until_idle()


@pytest.fixture
def port() -> Iterator[int]:
    """Reserve a port on loopback for a server that the test starts."""
    with reserved() as number:
        yield number


@pytest.fixture
def mail(settings: Settings) -> Iterator[MailServer]:
    """Start a real mail server on loopback and point the service at it."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "bursary.delivery.smtp_backend.SmtpEmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server
