"""`bursary backfill_content`: attach assignments without content to the replica's rows."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from bursary.assignments import backfill
from bursary.ops import backfill_runs
from bursary.ops.console import OperatorCommand, counted_in_words, progress


class Command(OperatorCommand):
    help = "Attach assignments without content to the replica, fetching content without a row."
    dry_run_help = "Report what would be attached; send no request, change nothing."

    def run(self, *, dry_run: bool, **_options: Any) -> None:
        with progress("Attaching", total=backfill.count_unattached()) as advance:
            done = backfill_runs.run(clock=timezone.now, dry_run=dry_run, advance=advance)
        would = "would be " if dry_run else ""
        text = (
            f"{counted_in_words(done.attached, 'assignment')} {would}attached, by content: {done.contents}."
        )
        self.answer(asdict(done), text)
        if total := done.left_out_total:
            first = "; ".join(
                f"{one.content_key} ({one.assignments}): {one.why}" for one in done.left_out[:5]
            )
            self.stderr.write(
                f"Warning: no content is known for {counted_in_words(total, 'assignment')}, such as {first}."
            )
        if done.unavailable:
            silent = "; ".join(f"{catalog}: {why}" for catalog, why in done.unavailable.items())
            raise CommandError(f"Not every catalog answered: {silent} Run it again later.")
