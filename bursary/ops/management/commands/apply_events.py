"""`bursary apply_events`: the scheduled task `events`, where cron runs the tasks."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from bursary.events import inbox
from bursary.ops.console import OperatorCommand


class Command(OperatorCommand):
    help = "Apply events of other services that are due, a bounded number of them."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Count what is due and do nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        if options["dry_run"]:
            due = inbox.count_due(now=timezone.now())
            return self.answer({"dry_run": True, "due": due}, f"{due} due.", as_json=options["json"])
        ended = inbox.apply_due(clock=timezone.now)
        words = ", ".join(f"{count} {how}" for how, count in sorted(ended.items())) or "nothing was due"
        return self.answer({"dry_run": False, **ended}, f"Applied: {words}.", as_json=options["json"])
