"""A database made by an earlier release migrates forwards and back with its data intact, and goes on living.

The data is that release's own: an organisation with an assignment in every state that it knew.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps.registry import Apps
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations.executor import MigrationExecutor

from bursary.assignments.models import ActionType, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.ops import clock
from tests.docs.pages import ROOT
from tests.smtp import MailServer
from tests.world import NOW, deliver

pytestmark = pytest.mark.django_db(transaction=True)

RELEASED = {
    "budgets": "0001_customers_accounts_budgets",
    "replica": "0001_content_replica",
    "access": "0001_users_roles_keys_links",
    "assignments": "0001_assignments_and_actions",
    "ops": None,
    "events": None,
}
RECORDS: list[dict[str, Any]] = json.loads((ROOT / "tests/data/before_the_clock.json").read_text())

Rows = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture
def released() -> Iterator[Apps]:
    """Return the models as they were, with the earlier release's data in the tables; tidy up after it."""
    migrate(RELEASED)
    before = apps_at(RELEASED)
    for record in RECORDS:
        model = before.get_model(record["model"])
        model._default_manager.bulk_create([model(**columns(model, record))])
    reset_sequences(before)
    yield before
    call_command("migrate", verbosity=0)


def migrate(targets: dict[str, str | None]) -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets.items()))


def apps_at(targets: dict[str, str | None]) -> Apps:
    nodes = [(app, name) for app, name in targets.items() if name]
    return MigrationExecutor(connection).loader.project_state(nodes).apps


def columns(model: type[models.Model], record: dict[str, Any]) -> dict[str, Any]:
    """Return a record's columns as the model takes them; lists of many-to-many are empty in it."""
    fields = record["fields"]
    named = {
        field.attname: field.to_python(fields[field.name]) if not field.is_relation else fields[field.name]
        for field in model._meta.concrete_fields
        if field.name in fields
    }
    return {"pk": record["pk"], **named}


def reset_sequences(apps: Apps) -> None:
    """Let new rows get keys that are not taken: rows were written with their own."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for label in {record["model"] for record in RECORDS}:
            table = connection.ops.quote_name(apps.get_model(label)._meta.db_table)
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, 'id'), (SELECT MAX(id) FROM {table}))", [table]
            )


def stored(apps: Apps) -> Rows:
    """Return, of every record, what is stored in the columns that the earlier release knew."""
    rows: Rows = {}
    for record in RECORDS:
        model = apps.get_model(record["model"])
        names = ["pk", *columns(model, record)]
        rows[record["model"], record["pk"]] = model._default_manager.values(*names).get(pk=record["pk"])
    return rows


def latest() -> Apps:
    loader = MigrationExecutor(connection).loader
    return loader.project_state().apps


def values(model: str, field: str) -> set[object]:
    return {record["fields"][field] for record in RECORDS if record["model"] == f"assignments.{model}"}


def test_the_recorded_data_has_what_can_go_wrong() -> None:
    assert values("learnercontentassignment", "state") == {"allocated", "accepted", "expired"}
    assert values("learnercontentassignmentaction", "status") >= {"done", "failed", "pending"}
    assert values("learnercontentassignment", "cycle") == {1, 2}


def test_an_upgrade_keeps_every_value_and_so_does_the_way_back(released: Apps) -> None:
    before = stored(released)
    assert len(before) == len(RECORDS)

    call_command("migrate", verbosity=0)
    assert stored(latest()) == before

    migrate(RELEASED)
    assert stored(apps_at(RELEASED)) == before


def test_after_an_upgrade_the_old_assignments_live_on(released: Apps, mail: MailServer) -> None:
    call_command("migrate", verbosity=0)
    held, spent = Budget.objects.values_list("held_cents", "spent_cents").get()

    clock.run_due(clock=lambda: NOW + timedelta(days=31))
    deliver(now=NOW + timedelta(days=31))
    reminded = LearnerContentAssignmentAction.objects.filter(action_type=ActionType.REMINDED, status="done")
    assert set(reminded.values_list("recipient", flat=True)) >= {"carol@learners.example"}
    assert Budget.objects.values_list("held_cents", "spent_cents").get() == (held, spent)

    clock.run_due(clock=lambda: NOW + timedelta(days=61))
    deliver(now=NOW + timedelta(days=61))
    assert Budget.objects.values_list("held_cents", "spent_cents").get() == (0, spent)
