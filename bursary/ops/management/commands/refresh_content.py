"""`bursary refresh_content`: bring the content replica up to date."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.ops import refreshing
from bursary.ops.printing import OperatorCommand, progress
from bursary.ops.refreshing import Refreshed


class Command(OperatorCommand):
    help = "Refresh the content replica from the catalog at BURSARY_CATALOG_URL."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--catalog", type=UUID, action="append", metavar="UUID", help="Only this one; may be repeated."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Say what would change and change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        catalogs = options["catalog"] or refreshing.budgets_catalogs()
        with progress("Refreshing") as advance:
            done = refreshing.refresh_catalogs(
                catalogs, now=timezone.now(), dry_run=options["dry_run"], advance=advance
            )
        summary = {"dry_run": options["dry_run"], "catalogs": [one.summary() for one in done]}
        text = "\n".join(map(_sentence, done)) or "No budget names a catalog: there is nothing to refresh."
        self.answer(summary, text, as_json=options["json"])
        self._warn(done)
        if silent := refreshing.unavailable(done):
            raise CommandError(f"{silent} What was there before still answers; try again later.")

    def _warn(self, done: list[Refreshed]) -> None:
        for one in done:
            if total := one.report.unparsable_total:
                first = "; ".join(
                    f"{bad.key or '(no key)'}: {bad.reason}" for bad in one.report.unparsable[:5]
                )
                self.stderr.write(f"Warning: {total} records could not be used, such as {first}.")


def _sentence(one: Refreshed) -> str:
    report = one.report
    return (
        f"Catalog {one.catalog_uuid}: {report.records} records; {report.created} new, "
        f"{report.changed} changed, {report.unchanged} as before."
    )
