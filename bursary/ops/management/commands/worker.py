"""`bursary worker`: a Celery worker, which delivers due work and runs scheduled tasks when it is woken."""

import sys
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from bursary.ops.console import OperatorCommand, positive_number


class Command(OperatorCommand):
    help = "Deliver due work and run scheduled tasks, woken by Celery's messages. Stop it with SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--concurrency", type=positive_number, metavar="N", help="The number of processes; 5 by default."
        )
        parser.add_argument(
            "--only", choices=("deliveries", "tasks"), help="Deliver only, or run scheduled tasks only."
        )

    def run(self, *, concurrency: int | None, only: str | None, **_options: Any) -> None:
        if settings.EXECUTOR != "celery":
            raise CommandError("Set BURSARY_EXECUTOR=celery and BURSARY_BROKER_URL: there is no broker.")
        processes = import_module("bursary.ops.celery_processes")  # needs the extra `celery`
        chosen = {"concurrency": concurrency, "kinds": only and [only]}
        sys.exit(processes.run_worker(**{name: value for name, value in chosen.items() if value}))
