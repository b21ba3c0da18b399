"""`bursary migrate`: Django's, unless another version of Bursary made the tables."""

from argparse import Action, ArgumentError, ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connection, transaction
from django.db.migrations import Migration
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from bursary.lib.retries import repeated_after_deadlocks
from bursary.ops.database import NotReady, in_words, refuse_unknown_migrations


def _app_label(text: str) -> str:
    known = _on_disk().migrated_apps
    if text not in known:
        raise ArgumentTypeError(f"there is no app {text} with migrations; it is one of {_listed(known)}")
    return text


class _MigrationName(Action):
    """Takes what the name of one migration of the app begins with, or `zero`."""

    def __call__(self, _parser: ArgumentParser, given: Namespace, value: Any, _option: Any = None) -> None:
        if value not in (None, "zero"):
            names = {name for app, name in _on_disk().disk_migrations if app == given.app_label}
            meant = {name for name in names if name.startswith(value)}
            if not meant:
                raise ArgumentError(
                    self, f"{given.app_label} has no migration {value}; the last is {max(names)}"
                )
            if len(meant) > 1:
                raise ArgumentError(self, f"{value} is the beginning of each of {_listed(meant)}")
        setattr(given, self.dest, value)


def _on_disk() -> MigrationLoader:
    """Return the migrations of this release; no database is asked."""
    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    return loader


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


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
        # Both are checked as they are read, before the data folder is made.
        named = {one.dest: one for one in parser._actions}
        named["app_label"].type = _app_label
        parser._positionals._remove_action(named["migration_name"])
        parser.add_argument(
            "migration_name", nargs="?", action=_MigrationName, help=named["migration_name"].help
        )

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
