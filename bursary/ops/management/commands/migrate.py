"""`bursary migrate`: Django's, unless another version of Bursary made the tables."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError, connection

from bursary.lib.retries import repeated_after_deadlocks
from bursary.ops.database import NotReady, in_words, refuse_unknown_migrations


class Command(migrate.Command):
    help = "Make the tables, or bring them up to date. Repeat it after each update, before serving."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            refuse_unknown_migrations()
        except NotReady as why:
            raise CommandError(str(why)) from why
        run = super().handle
        # The release before serves meanwhile: its transactions may hold what a migration waits for. Where one
        # was undone whole, the next run goes on from it.
        if connection.features.can_rollback_ddl:
            run = repeated_after_deadlocks(run)
        try:
            run(*args, **options)
        except OperationalError as error:  # a full disk, above all
            raise CommandError(
                f"{in_words(error)} What was migrated before stays. Repair the "
                "cause, then run `bursary migrate` again."
            ) from error
