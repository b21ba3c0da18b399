"""`bursary migrate`: Django's, unless another version of Bursary made the tables."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import OperationalError

from bursary.ops.database import NotReady, in_words, refuse_unknown_migrations


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            refuse_unknown_migrations()
        except NotReady as why:
            raise CommandError(str(why)) from why
        try:
            super().handle(*args, **options)
        except OperationalError as error:  # a full disk, above all
            raise CommandError(
                f"{in_words(error)} What was migrated before stays. Repair the "
                "cause, then run `bursary migrate` again."
            ) from error
