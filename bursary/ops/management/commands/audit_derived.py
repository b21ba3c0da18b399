"""`bursary audit_derived`: compare the assignments' derived columns with their expected values."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import derived_audit
from bursary.ops import derived_report
from bursary.ops.console import OperatorCommand, add_sample, progress

SAMPLE = 1000


class Command(OperatorCommand):
    help = "Compare the assignments' derived columns with what they are derived from; write nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_sample(parser, default=SAMPLE, everything="Check all assignments.")
        parser.add_argument(
            "--budget", type=UUID, metavar="UUID", help="Check only this budget's assignments."
        )

    def run(self, **options: Any) -> None:
        budget = derived_report.budget_of(options["budget"])
        total = derived_audit.count(budget=budget)
        sample = None if options["all"] else min(options["sample"], total)
        with progress("Auditing", total=total if sample is None else sample) as on_progress:
            audit = derived_audit.audit(
                clock=timezone.now, sample=sample, budget=budget, on_progress=on_progress
            )
        text = derived_report.sentence(audit)
        if audit.wrong:
            text += f"\n{self.rendered(derived_report.table(audit.differences))}"
        self.answer(derived_report.summary(audit), text)
        if audit.wrong:
            raise CommandError(f"{audit.wrong} are wrong: `bursary rebuild_derived` rewrites them.")
