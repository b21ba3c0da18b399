"""`bursary migrate`: what the database refuses is a sentence."""

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import OperationalError, connection

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
