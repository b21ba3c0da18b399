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
