"""`bursary migrate`: what the database refuses is a sentence, and no migration is left half done."""

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import OperationalError, connection, models
from django.db.migrations import CreateModel, Migration
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from bursary.ops.management.commands.migrate import WholeMigrations

pytestmark = pytest.mark.django_db


def test_a_full_disk_ends_it_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(migrate.Command, "handle", full)
    with pytest.raises(CommandError) as refused:
        call_command("migrate")
    assert "database or disk is full" in str(refused.value)
    assert "run `bursary migrate` again" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_after_a_deadlock_with_the_release_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def handle(*_arguments: object, **_options: object) -> None:
        runs.append("run")
        if len(runs) == 1:
            raise OperationalError(1213, "deadlock")

    monkeypatch.setattr(migrate.Command, "handle", handle)
    monkeypatch.setattr(connection.features, "can_rollback_ddl", True)
    call_command("migrate")
    assert runs == ["run", "run"]


@pytest.mark.django_db(transaction=True)
def test_where_a_migration_is_left_half_done_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def handle(*_arguments: object, **_options: object) -> None:
        runs.append("run")
        raise OperationalError(1213, "deadlock")

    monkeypatch.setattr(migrate.Command, "handle", handle)
    monkeypatch.setattr(connection.features, "can_rollback_ddl", False)
    with pytest.raises(CommandError, match="deadlock"):
        call_command("migrate")
    assert runs == ["run"]


class Ports(Migration):
    """Makes a table with a foreign key to itself and an index, which are added after the table."""

    operations = (
        CreateModel(
            "Port",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("next_port", models.ForeignKey("ops.Port", null=True, on_delete=models.CASCADE)),
            ],
        ),
    )


@pytest.mark.skipif("connection.vendor == 'mysql'", reason="MariaDB commits each change of tables by itself")
@pytest.mark.django_db(transaction=True)
def test_a_migration_that_is_not_recorded_leaves_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object) -> None:
        assert "ops_port" in connection.introspection.table_names()
        raise KeyboardInterrupt

    monkeypatch.setattr(MigrationRecorder, "record_applied", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WholeMigrations(connection).apply_migration(ProjectState(), Ports("0001_ports", "ops"))

    assert "ops_port" not in connection.introspection.table_names()
    assert vars(migrate)["MigrationExecutor"] is WholeMigrations  # by which the command migrates


def test_the_app_and_the_migration_that_are_named_are_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def handle(*_arguments: object, **options: object) -> None:
        given.append((options["app_label"], options["migration_name"]))

    monkeypatch.setattr(migrate.Command, "handle", handle)
    for named in ([], ["access"], ["access", "0001"], ["access", "zero"]):
        call_command("migrate", *named)
    assert given == [(None, None), ("access", None), ("access", "0001"), ("access", "zero")]
