"""`bursary migrate`: what the database refuses is a sentence."""

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import OperationalError

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
