"""Rows that another process inserts at the same moment."""

from collections.abc import Sequence
from types import ModuleType

import pytest
from django.db.models import Model

from bursary.lib import inserts


def inserted_by_another(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[Model]:
    """Let each row that a module finds missing be inserted just before it does; return these rows."""
    inserted: list[Model] = []

    def insert(rows: Sequence[Model], *, unique: Sequence[str]) -> None:
        inserted.extend(rows)
        for _process in ("another", "this one"):
            inserts.insert_missing(rows, unique=unique)

    monkeypatch.setattr(module, "insert_missing", insert)
    return inserted
