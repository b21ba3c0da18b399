"""`bursary migrate`: Django's, unless another version of Bursary made the tables."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate

from bursary.ops.database import NotReady, refuse_unknown_migrations


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        try:
            refuse_unknown_migrations()
        except NotReady as why:
            raise CommandError(str(why)) from why
        super().handle(*args, **options)
