"""`bursary forget_learners`: erase the personal data of expired assignments."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import erasure
from bursary.ops import erasure_runs
from bursary.ops.console import OperatorCommand, progress, to_json


class Command(OperatorCommand):
    help = "Erase the personal data of expired assignments after the notice of it, or after thirty days."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Count what is due; change nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        now = timezone.now()
        due = erasure.due(now).count()
        if options["dry_run"]:
            summary = {"dry_run": True, "due": due}
            return self.answer(summary, f"{due} would be forgotten.", as_json=options["json"])
        with progress("Forgetting", total=due) as advance:
            done = {"dry_run": False} | erasure_runs.run(now=now, advance=advance)
        if failed := done["failed_budgets"]:
            self.stderr.write(to_json(done))
            raise CommandError(f"It failed in these budgets: {failed}. Their assignments are untouched.")
        self.answer(done, f"{done['forgotten']} forgotten.", as_json=options["json"])
        if not done["traces_removed"]:
            self.stderr.write(f"Warning: {erasure_runs.TRACES_LEFT}")
        return None
