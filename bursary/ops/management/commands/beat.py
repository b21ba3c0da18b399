"""`bursary beat`: Celery's beat, which wakes the workers every few seconds."""

from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from bursary.ops.console import OperatorCommand


class Command(OperatorCommand):
    help = "Wake Celery's workers for due work and scheduled tasks, every five seconds. One is enough."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add none."""

    def run(self, **_options: Any) -> None:
        if settings.EXECUTOR != "celery":
            raise CommandError("Set BURSARY_EXECUTOR=celery and BURSARY_BROKER_URL: there is no broker.")
        import_module("bursary.ops.celery_processes").run_beat()  # needs the extra `celery`
