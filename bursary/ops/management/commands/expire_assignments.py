"""`bursary expire_assignments`: expire whatever is past its deadline."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import expiry
from bursary.ops.printing import OperatorCommand, progress, to_json


class Command(OperatorCommand):
    help = "Expire every open assignment that is past its deadline; its money is free again."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Count what would expire and do nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        now = timezone.now()
        due = expiry.count_due(now)
        if options["dry_run"]:
            summary = {"dry_run": True, "due": sum(due.values()), "reasons": due}
            return self.answer(summary, f"{sum(due.values())} would expire.", as_json=options["json"])
        with progress("Expiring", total=sum(due.values())) as advance:
            swept = expiry.expire_due(now=now, progress=advance)
        summary = {"dry_run": False, "expired": swept.expired, "failed_budgets": swept.failed}
        if swept.failed:
            self.stderr.write(to_json(summary))
            raise CommandError(f"{len(swept.failed)} budgets failed; their assignments are untouched.")
        return self.answer(summary, f"{swept.expired} expired.", as_json=options["json"])
