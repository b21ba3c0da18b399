"""Which tests run on SQLite alone, and which on every engine."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

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
    *("dashboard/test_life_steps.py", "dashboard/test_lists_from_the_field.py"),
    *("dashboard/test_own_assignments.py", "dashboard/test_preview.py", "dashboard/test_remedies.py"),
    *("dashboard/test_remedy_views.py", "dashboard/test_repeats.py", "dashboard/test_shell.py"),
    *("dashboard/test_shown_dates.py", "dashboard/test_signed_out.py"),
    "dashboard/test_views.py",
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
    "lib/test_breaker.py",
    "lib/test_database_errors.py",
    "lib/test_numbers.py",
    *("access/test_links.py", "access/test_zones.py", "assignments/test_dates.py", "lib/test_money.py"),
    *("assignments/test_outcomes.py", "assignments/test_open_assignments.py"),
    *("access/test_contacts.py", "assignments/test_content_display.py", "delivery/test_mail_content.py"),
    *("ops/test_checks.py", "replica/test_joining.py"),
    *("delivery/test_emails.py", "delivery/test_file_backend.py", "delivery/test_smtp_backend.py"),
    *("delivery/test_smtp_answers.py", "delivery/test_broker.py", "delivery/test_provider_backend.py"),
    *("ops/test_timeline_report.py", "ops/test_explain_report.py", "ops/test_audit_report.py"),  # printing
    # Reading upstream over HTTP. What it writes is tested on both, in replica/test_refresh.py and others.
    *("replica/test_refresh_over_http.py", "replica/test_memory.py"),
    "replica/test_many_catalogs.py",
    *("api/test_read_modes.py", "replica/test_merge_decisions.py", "faults/test_an_hour_of_outage.py"),
    *("faults/test_fault_02_catalog_unreachable.py", "faults/test_fault_03_missing_courses.py"),
    # Ask every page, or every case of every catalog, one by one. What decides there is tested on both, in
    # replica/test_variants.py, replica/test_joining_rows.py and api/test_content_scope.py.
    *("flows/test_a_restricted_run_over_http.py", "flows/test_a_restricted_run_in_mails_and_commands.py"),
    *("flows/test_every_case_of_every_catalog.py", "flows/test_events_over_the_bus.py"),
    "flows/test_further_kinds_of_what_can_be_joined.py",
    # Which courses can be joined, and what is said of them. What is stored and locked is tested on both, in
    # assignments/test_allocation.py, assignments/test_administrator_notices.py, replica/test_joining_rows.py.
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
    "ops/test_forked.py",
    *("deploy/test_deploy_files.py", "ops/test_distribution.py"),  # read files, and install in a folder
    # Its migrations go there and back on both, in upgrades/test_content_variants.py and test_upgrade.py. What
    # follows is asked on both, in replica/test_variants.py and assignments/test_derived_audit.py,
    # test_administrator_notices.py, test_expiry.py.
    "upgrades/test_two_customers.py",
    "upgrades/test_granted_permissions.py",
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
    *("dashboard/test_timeline_entries.py", "dashboard/test_assign_live.py", "dashboard/test_totals.py"),
    *("dashboard/bulk/test_bulk_questions.py", "dashboard/bulk/test_bulk_work.py"),
    "dashboard/test_kept_results.py",  # locks a session
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
    *("assignments/test_administrator_notices.py", "assignments/test_extension.py"),
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
    # Lookups: one at a time asks.
    "replica/test_upstream_cache.py",
    "lib/test_texts.py",  # what each engine stores
]
# How many queries there are for many rows and for few is the same on both engines.
COUNTS_QUERIES = re.compile(
    "as_many_queries|the_same_queries|the_queries_do_not_grow"
    "|takes_(three|five|eight|ten|eleven|fourteen)_queries"
)
ON_A_SERVER = os.environ.get("BURSARY_TEST_DB", "sqlite") != "sqlite"
NOT_COLLECTED = {TESTS / path for path in ON_SQLITE_ONLY} if ON_A_SERVER else set()


def is_run(name: str, marks: Iterable[pytest.Mark], *, in_full: bool) -> bool:
    """Return whether servers run a test; of a file that they do not run in full, those marked for them."""
    marked = {mark.name for mark in marks}
    if "sqlite_only" in marked or COUNTS_QUERIES.search(name):
        return False
    return in_full or bool(marked & {"on_every_engine", "needs_row_locks", "only_on"})


def in_full(file: Path) -> bool:
    """Return whether servers run all tests of a file."""
    return file.relative_to(TESTS).as_posix() not in MOSTLY_ON_SQLITE


def require_listed() -> None:
    """Raise UsageError where a listed file is not there: once renamed, it is in neither half."""
    missing = [path for path in [*ON_SQLITE_ONLY, *MOSTLY_ON_SQLITE] if not (TESTS / path).exists()]
    if missing:
        raise pytest.UsageError(f"tests/engines.py lists what is not there: {missing}")
