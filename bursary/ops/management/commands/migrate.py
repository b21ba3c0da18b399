"""`bursary migrate`: Django's, unless another version of Bursary made the tables."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connection, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor

from bursary.lib.retries import repeated_after_deadlocks
from bursary.ops.database import NotReady, in_words, refuse_unknown_migrations


def _app_label(text: str) -> str:
    if text not in apps.app_configs:
        raise ArgumentTypeError(f"there is no app {text}; it is one of {', '.join(sorted(apps.app_configs))}")
    return text


class WholeMigrations(MigrationExecutor):
    """Applies a migration and records it in one transaction, where the database can roll its tables back.

    Django's executor records one that adds foreign keys or indexes after it is committed. A process that ends
    in between leaves tables that the next run makes again, which the database refuses.
    """

    def apply_migration(self, state: Any, migration: Migration, *args: Any, **options: Any) -> Any:
        """Apply a migration and record it."""
        with self._transaction(migration):
            return super().apply_migration(state, migration, *args, **options)

    def unapply_migration(self, state: Any, migration: Migration, *args: Any, **options: Any) -> Any:
        """Undo a migration and its record."""
        with self._transaction(migration):
            return super().unapply_migration(state, migration, *args, **options)

    @contextmanager
    def _transaction(self, migration: Migration) -> Iterator[None]:
        if not (migration.atomic and self.connection.features.can_rollback_ddl):
            yield
            return
        # SQLite turns its checks of foreign keys off between transactions alone.
        with self.connection.constraint_checks_disabled(), transaction.atomic(self.connection.alias):
            yield


migrate.MigrationExecutor = WholeMigrations  # type: ignore[attr-defined]  # Django's command takes it from there


class Command(migrate.Command):
    help = "Make the tables, or bring them up to date. Repeat it after each update, before serving."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        for one in parser._actions:
            if one.dest == "app_label":  # read before the data folder is made
                one.type = _app_label

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            refuse_unknown_migrations()
        except NotReady as why:
            raise CommandError(str(why)) from why
        run = super().handle
        # The earlier release still serves, and its transactions may hold locks that a migration waits for. If
        # a migration was rolled back as a whole, the next run continues with it.
        if connection.features.can_rollback_ddl:
            run = repeated_after_deadlocks(run)
        try:
            run(*args, **options)
        except OperationalError as error:  # mostly a full disk
            raise CommandError(
                f"{in_words(error)} What was migrated before stays. Repair the "
                "cause, then run `bursary migrate` again."
            ) from error
