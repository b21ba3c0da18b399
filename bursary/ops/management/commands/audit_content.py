"""`bursary audit_content`: compare the replica with upstream."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops import audit_report, refresh_runs
from bursary.ops.console import OperatorCommand, add_sample, percent, progress
from bursary.replica import audit
from bursary.replica.refresh import configured_source

SAMPLE = 100


class Command(OperatorCommand):
    help = "Compare the content replica with upstream and report where they differ. Writes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_sample(parser, default=SAMPLE, everything="Check all content.")
        parser.add_argument(
            "--catalog", type=UUID, metavar="UUID", help="Check only what this catalog holds."
        )
        parser.add_argument(
            "--threshold",
            type=percent,
            default=0.0,
            metavar="PERCENT",
            help="The percentage of drifted rows that is no failure; 0 by default.",
        )

    def run(self, **options: Any) -> None:
        catalog = options["catalog"]
        sample = None if options["all"] else options["sample"]
        total = audit.subjects(catalog).count()
        with progress("Comparing", total=total if sample is None else min(sample, total)) as on_progress:
            found = audit.audit(
                source=configured_source(),
                clock=timezone.now,
                catalog_uuid=catalog,
                sample=sample,
                listed=[catalog] if catalog else refresh_runs.budgets_catalogs(),
                on_progress=on_progress,
            )
        text = audit_report.sentence(found)
        if found.found:
            text += f"\n{self.rendered(audit_report.table(found))}"
        self.answer(audit_report.summary(found, threshold=options["threshold"]), text)
        if failure := audit_report.failure(found, threshold=options["threshold"]):
            raise CommandError(failure)
