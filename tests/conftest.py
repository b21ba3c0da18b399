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
from django.test import TransactionTestCase
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

# What no database engine answers differently runs on SQLite only. Everything else runs on both: locks,
# constraints, races, migrations, claims, orderings, filters, JSON, flows, faults.
ON_SQLITE_ONLY = [
    *("architecture", "docs", "config"),  # read the code, the pages and the settings
    *("bench/test_curves.py", "bench/test_sections.py", "bench/test_scripts.py"),  # draw given figures
    *("catalog", "enterprise_catalog", "upstream"),  # parse, and talk HTTP
    *("ops/test_admin.py", "ops/test_migrate.py", "browser"),  # pages
    # Pages: forms, words, permissions and links. What pages alone ask the database is on the other list.
    *("dashboard/test_accepting.py", "dashboard/test_account.py", "dashboard/test_assign.py"),
    *("dashboard/test_assignment_page.py", "dashboard/test_batch_page.py"),
    *("dashboard/test_browsable_api.py", "dashboard/test_cancelling.py", "dashboard/test_due_date.py"),
    *("dashboard/test_home_pages.py", "dashboard/test_invitation_page.py"),
    *("dashboard/test_learner_answers.py", "dashboard/test_learner_views.py"),
    *("dashboard/test_life_picture.py", "dashboard/test_lists_from_the_field.py"),
    *("dashboard/test_own_assignments.py", "dashboard/test_preview.py", "dashboard/test_remedies.py"),
    *("dashboard/test_remedy_views.py", "dashboard/test_repeats.py", "dashboard/test_shell.py"),
    *("dashboard/test_shown_dates.py", "dashboard/test_signed_out.py"),
    *("dashboard/test_totals.py", "dashboard/test_views.py"),
    *("api/test_schema.py", "api/test_not_found.py"),
    *("api/test_inputs.py", "api/test_hostile_queries.py"),  # inputs
    "api/test_routes.py",  # permissions
    # What these do is tested on both, in assignments/test_failures.py and assignments/test_extension.py.
    *("api/test_repairs.py", "api/test_allocation_batches.py", "api/test_export.py"),
    # Both decide by what is tested.
    *("assignments/test_previews_come_true.py", "assignments/test_offers.py"),
    *("assignments/test_pasted_lists.py", "lib/test_mailbox.py", "api/test_lists_from_the_field.py"),
    *("access/test_permissions.py", "api/test_authentication.py", "lib/test_moments.py"),
    # Claims decide what signs in. Races are in access/test_token_accounts.py and access/test_signing_keys.py.
    *("api/test_tokens.py", "api/test_token_sign_in.py", "api/test_client_origins.py"),
    # Ask no database, or none that is there.
    "lib/test_trouble.py",
    *("access/test_links.py", "assignments/test_reminder_dates.py", "lib/test_money.py"),
    *("access/test_contacts.py", "assignments/test_content_display.py", "delivery/test_mail_content.py"),
    *("ops/test_checks.py", "replica/test_joining.py"),
    *("delivery/test_emails.py", "delivery/test_file_backend.py", "delivery/test_smtp_backend.py"),
    *("delivery/test_smtp_answers.py", "delivery/test_broker.py", "delivery/test_provider_backend.py"),
    *("ops/test_timeline_report.py", "ops/test_explain_report.py", "ops/test_audit_report.py"),  # printing
    # Reading upstream over HTTP. What it writes is tested on both, in replica/test_refresh.py and others.
    *("replica/test_upstream_cache.py", "replica/test_refresh_over_http.py", "replica/test_memory.py"),
    "replica/test_many_catalogs.py",
    *("api/test_read_modes.py", "replica/test_merge_decisions.py", "faults/test_an_hour_of_outage.py"),
    *("faults/test_fault_02_catalog_unreachable.py", "faults/test_fault_03_missing_courses.py"),
    # Ask every page, or every case of every catalog, one by one. What decides there is tested on both, in
    # replica/test_variants.py, replica/test_joining_rows.py and api/test_content_scope.py.
    *("flows/test_a_restricted_run_over_http.py", "flows/test_a_restricted_run_in_mails_and_commands.py"),
    *("flows/test_every_case_of_every_catalog.py", "flows/test_events_over_the_bus.py"),
    "flows/test_further_kinds_of_what_can_be_joined.py",
    # Which courses can be joined, and what is said of them. What is stored and locked is tested on both, in
    # assignments/test_allocation.py, assignments/test_deadline_notices.py, replica/test_joining_rows.py.
    *("assignments/test_preview_warnings.py", "assignments/test_joining_cases.py"),
    *("assignments/test_unjoinable_notices.py", "assignments/test_courses_without_a_run_to_join.py"),
    *("api/test_content_events.py", "api/test_refusals.py"),  # statuses and reasons
    "api/test_mail_events.py",  # likewise; what is stored is tested on both, in flows
    *("api/test_empty_answers.py", "api/test_learner_portal.py"),  # permissions, and constants
    # The API's answers. What they store and refuse is tested on both, in assignments/test_allocation.py,
    # test_matching.py, test_cancellation.py, test_declining.py, test_reminders.py, test_redemption.py,
    # test_redeeming_again.py, test_same_course.py; lists in api/test_filters.py and api/test_orderings.py.
    *("api/test_allocation.py", "api/test_allocation_as_understood.py"),
    *("api/test_allocation_summary.py", "api/test_assignments.py"),
    *("api/test_cancelling.py", "api/test_declining.py", "api/test_reminding.py", "api/test_redemption.py"),
    *("api/test_redeemed_runs.py", "api/test_same_course.py", "api/test_credits_of_unjoinable_content.py"),
    # Refusals, corrections and files. What is stored is tested on both, in assignments/test_allocation.py,
    # test_redemption.py, test_addresses.py.
    *("assignments/test_allocation_refusals.py", "assignments/test_redemption_refusals.py"),
    *("assignments/test_address_corrections.py", "assignments/test_signed_links.py"),
    "assignments/test_learner_accounts.py",
    # Lives of which each step is tested on both where it is decided: assignments/test_account_linking.py,
    # test_address_corrections.py, test_failures.py, test_same_course.py, budgets/test_terms.py,
    # delivery/test_runner.py. Whole lives on both: flows/test_catalog_to_acceptance.py and others.
    *("flows/test_a_budget_not_in_use.py", "flows/test_a_rejected_address.py", "flows/test_people_change.py"),
    *("flows/test_one_person_two_addresses.py", "flows/test_decline_and_give_the_seat_to_another.py"),
    *("flows/test_mail_is_down_for_an_hour.py", "flows/test_the_same_course_from_two_budgets.py"),
    # Commands and reports on what is tested on both: delivery/test_runner.py, ops/test_health.py,
    # assignments/test_expiry.py, test_failures.py, test_reminders.py, test_address_corrections.py,
    # test_derived_audit.py, replica/test_refresh.py, test_shadow.py.
    *("ops/test_deliver.py", "ops/test_expiring.py", "ops/test_correct_address.py", "ops/test_setup.py"),
    *("ops/test_status_report.py", "ops/test_shadow_report.py", "ops/test_sweep_commands.py"),
    *("ops/test_auditing_derived.py", "ops/test_refresh_runs.py"),
    # When a mail is tried again, and by which connection, by what a server or a provider answered. Claims:
    # lib/test_leases_on_engines.py, delivery/test_batches.py.
    *("delivery/test_mail_server.py", "delivery/test_mail_connection.py"),
    "faults/test_a_provider_in_trouble.py",
    # Decided in Python: what is refused and answered, what an outage logs, what a cancellation notes. Counts
    # under races are tested on both, in access/test_rate_limits.py.
    *("api/test_throttling.py", "api/test_root.py", "lib/test_outages.py"),
    *("faults/test_fault_11_cancelled_at.py", "faults/test_fault_12_reminding_the_cancelled.py"),
    # Which record of content counts. How records are stored, locked and removed is tested on both, in
    # replica/test_refresh.py, test_merge.py, test_variants.py, test_removal.py, test_overlapping.py.
    *("replica/test_edits_between.py", "replica/test_links.py", "replica/test_merge_bounds.py"),
    *("replica/test_clocks_ahead.py", "replica/test_returning.py", "replica/test_audit.py"),
    *(
        "replica/test_interrupted.py",
        "replica/test_keys_renamed_while_listed.py",
        "replica/test_runs_alone.py",
    ),
    # Start processes of their own, which use SQLite whatever the tests run on.
    *("ops/test_unattended.py", "ops/test_demo.py", "ops/test_demo_year.py", "ops/test_serving.py"),
    *("ops/test_serving_fairly.py", "ops/test_fuzzing.py", "ops/test_http_worker.py"),
    *("deploy/test_deploy_files.py", "ops/test_distribution.py"),  # read files, and install in a folder
    # Its migrations go there and back on both, in upgrades/test_content_variants.py and test_upgrade.py. What
    # follows is asked on both, in replica/test_variants.py and assignments/test_derived_audit.py,
    # test_deadline_notices.py, test_expiry.py.
    "upgrades/test_two_customers.py",
    "api/test_idempotency.py",  # claims are tested on both, in access/test_idempotency.py
    # Which address, scope or repeated request means what. Unique addresses, keys and claims are tested on
    # both, in access/test_models.py, test_api_key_races.py, test_learner_links.py, test_idempotency.py.
    *("access/test_account_addresses.py", "access/test_admin.py", "api/test_key_scopes.py"),
    "api/test_repeated_requests.py",
    "assignments/test_offered_terms.py",  # the rule in SQL is tested on both, in replica/test_joining_rows.py
    "contract/test_learner_portal.py",  # answers; what they are read from is tested on both, in assignments/
    "replica/test_statements.py",  # counts statements
]
# Of these, servers run the tests marked `on_every_engine`: what locks, claims, races, is refused by a
# constraint, sorted, searched, compared as text or as an instant in SQL, written in bulk, in JSON or in
# savepoints. The others decide in Python, by rows that every engine reads and writes alike.
MOSTLY_ON_SQLITE = [
    # Accounts and keys: constraints, and the lease under which keys are fetched.
    *("access/test_models.py", "access/test_signing_keys.py"),
    "access/test_sign_in_limits.py",  # counts: upserts, and what lapsed by an instant
    # Pages: sums of money and counts by week and month, pages by cursor, texts in JSON, what a search finds.
    *("dashboard/test_home.py", "dashboard/test_budget_pages.py", "dashboard/test_assignment_list.py"),
    *("dashboard/test_timeline_entries.py", "dashboard/test_assign_live.py"),
    *("dashboard/bulk/test_bulk_questions.py", "dashboard/bulk/test_bulk_work.py"),
    "assignments/test_csv_export.py",  # reads page by page
    # Rows as bytes, the rows of a caller's catalog, and ids that are none.
    *("api/test_assignment_bodies.py", "api/test_content_scope.py", "ops/test_timeline_ids.py"),
    # Answers of the API: what is searched, sorted, paged, or refused by the engine itself.
    *("api/test_budgets.py", "api/test_content.py", "api/test_content_changes.py"),
    *("api/test_filters.py", "api/test_paging.py", "api/test_subsidies.py"),
    *("api/test_timeline.py", "contract/test_admin_portal.py"),
    "flows/test_content_that_has_left_a_catalog.py",
    # Decisions about learners, money and work: locks, what is written in bulk, what the database finds.
    *("assignments/test_account_linking.py", "assignments/test_action_rows.py"),
    *("assignments/test_actions.py", "assignments/test_addresses.py", "assignments/test_allocation.py"),
    *("assignments/test_declining.py", "assignments/test_allocation_results.py"),
    *("assignments/test_erasure.py", "assignments/test_lifecycle.py"),
    *("assignments/test_erasure_on_request.py", "assignments/test_linking.py"),
    *("assignments/test_matching.py", "assignments/test_redeeming_again.py"),
    *("assignments/test_redemption.py", "assignments/test_same_course.py", "budgets/test_ledger.py"),
    *("budgets/test_models.py", "budgets/test_terms.py"),
    # Deadlines and sweeps: instants that SQL reckons, and what is due.
    *("assignments/test_deadline_notices.py", "assignments/test_extension.py"),
    *("assignments/test_reminders.py", "assignments/test_failures.py", "assignments/test_impact.py"),
    # Derived columns: what SQL writes anew. How differences are counted is decided in Python.
    "assignments/test_derived_audit.py",
    # Turns: written in bulk, over several statements. The second of each list is decided in Python.
    "assignments/test_turns.py",
    # Lists sent at once: locks. In turn, the second is matched as in assignments/test_matching.py.
    "flows/test_a_list_sent_twice_by_two_administrators.py",
    # Keys of mailboxes: written in bulk, unique, and in savepoints.
    "assignments/test_mailbox_keys.py",
    # Work and events: claims, leases and rounds; which mails an instant or a report of a provider keeps back.
    *("delivery/test_runner.py", "events/test_bus.py", "events/test_inbox.py"),
    *("delivery/test_sending_rate.py", "ops/test_scheduler.py"),
    *("flows/test_what_mail_providers_report.py", "flows/test_unsubscribing_from_reminders.py"),
    # Of workers alone: the rest decides in Python what a failed mail means.
    *("faults/test_fault_06_duplicate_mails.py", "faults/test_fault_10_failed_notices.py"),
    # Commands: pages, counts, and what must be in no table.
    *("ops/test_backfill_runs.py", "ops/test_erasure_runs.py", "ops/test_health.py"),
    *("ops/test_metrics.py", "ops/test_repair_commands.py", "ops/test_refresh_task.py"),
    # The replica: claims, JSON, bulk writes, and which rows a catalog's are.
    *("replica/test_cold_reads.py", "replica/test_due.py", "replica/test_every_recorded_line.py"),
    *("replica/test_merge.py", "replica/test_quarantine.py", "replica/test_reads.py"),
    *("replica/test_refresh.py", "replica/test_removal.py", "replica/test_renamed_keys.py"),
    *("replica/test_schedule.py", "replica/test_shadow.py", "replica/test_variants.py"),
]
_ON_A_SERVER = os.environ.get("BURSARY_TEST_DB", "sqlite") != "sqlite"
_NOT_COLLECTED = {Path(__file__).parent / path for path in ON_SQLITE_ONLY} if _ON_A_SERVER else set()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Pass over what servers do not run. From `collect_ignore` pytest makes all paths anew for each file."""
    return True if collection_path in _NOT_COLLECTED else None


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
    if session.config.pluginmanager.has_plugin("dsession") and (_ON_A_SERVER or is_whole(session)):
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
    listed = [*ON_SQLITE_ONLY, *MOSTLY_ON_SQLITE]
    missing = [path for path in listed if not (Path(__file__).parent / path).exists()]
    if missing:  # a test file that was renamed must not slip into the other half unseen
        raise pytest.UsageError(f"tests/conftest.py lists what is not there: {missing}")
    gc.set_threshold(50_000, 20, 100)  # a test leaves little garbage
    TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]  # private: not in the stubs
    # A test that commits leaves its connection to the next one: PostgreSQL starts a process for each, which
    # reads the tables' descriptions anew. Tests that set something of a session close it themselves.
    TransactionTestCase._should_reload_connections = lambda _case: False  # type: ignore[attr-defined]  # private, too
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
    if is_whole(session) and not _ON_A_SERVER and "PYTEST_XDIST_WORKER" in os.environ:
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
    if not (_ON_A_SERVER and is_whole(collector.session) and name.startswith("test")):
        return None
    marks = [*getattr(obj, "pytestmark", ()), *collector.iter_markers()]
    return None if engines.is_run(name, marks, in_full=_in_full(collector)) else []


def _in_full(node: pytest.Item | pytest.Module) -> bool:
    return node.path.relative_to(Path(__file__).parent).as_posix() not in MOSTLY_ON_SQLITE


def _is_run(item: pytest.Item) -> bool:
    return not _ON_A_SERVER or engines.is_run(item.name, item.iter_markers(), in_full=_in_full(item))


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
    outages.forget()
    throttling.GETS.forget()


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
    stack.mail.thinks_for, stack.mail.loses_answers = 0, False
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
