"""A database that an earlier release wrote migrates to this one, with everything in it.

Recordings are made by `scripts/record_release.py` and never changed.
"""

import json
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations import Migration
from django.db.migrations.state import ProjectState

from bursary.assignments.models import LearnerContentAssignment, LearnerContentAssignmentAction
from bursary.budgets.models import Budget
from bursary.ops.management.commands.migrate import WholeMigrations
from bursary.replica.models import CatalogMembership
from tests.migrated import cheap_models
from tests.upgrades.recording import Recording, dump, fill, load, missing, models

RELEASE_0_1, *LATER = sorted((Path(__file__).parents[1] / "data").glob("release-*.json"))
"""The first is upgraded in `test_content_variants.py`, with more rows and back again."""
NONE_YET = pytest.mark.skip("no later release is recorded; test_content_variants.py upgrades release 0.1")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.takes_long]


def migrate(targets: list[tuple[str, str]]) -> WholeMigrations:
    executor = WholeMigrations(connection)
    plan = executor.migration_plan(targets)
    forwards = not any(backwards for _migration, backwards in plan)
    with pytest.MonkeyPatch.context() as patch, cheap_models(forwards=forwards):
        patch.setattr(Migration, "mutate_state", _mutate_unrendered)
        executor.migrate(targets, plan)
    return executor


def _mutate_unrendered(migration: Migration, before: ProjectState, preserve: bool = True) -> ProjectState:
    """Return the state after a migration, without its models: they are made when they are asked for.

    On the way back Django computes every state first, and makes the models anew after each operation: a third
    of the time. They are asked for once a migration.
    """
    after = before.clone() if preserve else before
    after.__dict__.pop("apps", None)
    for operation in migration.operations:
        operation.state_forwards(migration.app_label, after)
    return after


@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize(
    "file", LATER or [pytest.param(RELEASE_0_1, marks=NONE_YET)], ids=lambda file: file.stem
)
def test_a_later_recorded_database_migrates_with_everything_in_it(file: Path) -> None:
    recording: Recording = json.loads(file.read_text(encoding="utf-8"))
    then = list(recording["migrations"].items())
    executor = migrate(then)
    load(recording, apps=executor.loader.project_state(then).apps)

    migrate(executor.loader.graph.leaf_nodes())

    check_everything(recording)


def check_everything(recording: Recording) -> None:
    """Require every recorded row, and no row that a constraint would refuse."""
    connection.check_constraints()
    for model in models():
        recorded = recording["rows"].get(model._meta.label)
        rows = model._default_manager.all()
        if model is CatalogMembership:  # a run has a membership of its own since
            rows = rows.filter(via_course="")
        assert recorded is None or rows.count() == len(recorded), model._meta.label
        for row in model._default_manager.all():
            row.validate_constraints()
    check_what_it_says(recording)


def check_what_it_says(recording: Recording) -> None:
    """Compare states, timelines and money with the recording, and the derived columns with their rule."""
    assignments = {row["id"]: row for row in recording["rows"]["assignments.LearnerContentAssignment"]}
    actions = recording["rows"]["assignments.LearnerContentAssignmentAction"]
    for assignment in LearnerContentAssignment.objects.all():
        before = assignments[assignment.pk]
        assert (str(assignment.uuid), assignment.state) == (before["uuid"], before["state"])
        assert (assignment.learner_email, assignment.price_cents) == (
            before["learner_email"],
            before["price_cents"],
        )
        timeline = LearnerContentAssignmentAction.objects.filter(assignment=assignment).timeline()
        assert {(str(action.uuid), action.action_type, action.status) for action in timeline} == {
            (action["uuid"], action["action_type"], action["status"])
            for action in actions
            if action["assignment_id"] == assignment.pk
        }
    for budget in recording["rows"]["budgets.Budget"]:
        found = Budget.objects.get(pk=budget["id"])
        assert (found.reserved_cents, found.spent_cents) == (budget["held_cents"], budget["spent_cents"])
    call_command("audit_derived", "--all")


@pytest.mark.sqlite_only  # which rows there are is the same; servers load a recording, above
def test_a_recording_holds_every_model_and_state_and_can_be_read_again() -> None:
    fill()

    assert missing() == []
    recording = dump()

    call_command("flush", interactive=False)
    load(recording, apps=apps)
    assert dump() == recording
