"""`bursary migrate`: Django's, unless another version of Bursary made the tables."""

from argparse import ArgumentTypeError
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connection

from bursary.lib.retries import repeated_after_deadlocks
from bursary.ops.database import NotReady, in_words, refuse_unknown_migrations


def _app_label(text: str) -> str:
    if text not in apps.app_configs:
        raise ArgumentTypeError(f"there is no app {text}; it is one of {', '.join(sorted(apps.app_configs))}")
    return text


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
