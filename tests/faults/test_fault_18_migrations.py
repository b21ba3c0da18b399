"""Fault 18 of the peer: its migrations failed on MariaDB."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Model, UniqueConstraint

pytestmark = pytest.mark.django_db


def test_fault_18_every_migration_was_applied_on_this_engine() -> None:
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []


def test_fault_18_each_unique_constraint_and_index_of_the_models_is_in_the_database() -> None:
    missing = [
        f"{model._meta.label}: {name}"
        for model in ours()
        for name in {one.name for one in (*model._meta.constraints, *model._meta.indexes)} - stored(model)
    ]
    assert missing == []


def test_fault_18_nothing_depends_on_a_condition_that_mariadb_passes_over() -> None:
    conditional = [
        f"{model._meta.label}: {one.name}"
        for model in ours()
        for one in (*model._meta.constraints, *model._meta.indexes)
        if getattr(one, "condition", None) is not None
        and (isinstance(one, UniqueConstraint) or one in model._meta.indexes)
    ]
    assert conditional == []


def ours() -> Iterator[type[Model]]:
    for model in apps.get_models():
        if model.__module__.startswith("bursary."):
            yield model


def stored(model: type[Model]) -> set[str]:
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, model._meta.db_table))
