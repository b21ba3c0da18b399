"""`bursary apply_events`: run the scheduled task `events` from cron."""

from typing import Any

from django.utils import timezone

from bursary.events import inbox
from bursary.ops.console import OperatorCommand, counts_in_words


class Command(OperatorCommand):
    help = "Apply events of other services that are due, a bounded number of them."
    dry_run_help = "Count what is due and do nothing."

    def run(self, *, dry_run: bool, **_options: Any) -> None:
        if dry_run:
            due = inbox.count_due(now=timezone.now())
            return self.answer({"dry_run": True, "due": due}, f"{due} due.")
        ended = inbox.apply_due(clock=timezone.now)
        words = counts_in_words(ended, none="nothing was due")
        return self.answer({"dry_run": False, **ended}, f"Applied: {words}.")
