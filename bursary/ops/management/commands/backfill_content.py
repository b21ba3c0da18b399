"""`bursary backfill_content`: attach assignments without content to the replica's rows."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from bursary.assignments import backfill
from bursary.ops import backfill_runs
from bursary.ops.backfill_runs import BackfillRun
from bursary.ops.console import OperatorCommand, counted_in_words, progress


class Command(OperatorCommand):
    help = "Attach assignments without content to the replica, fetching content without a row."
    dry_run_help = "Report what would be attached; send no request, change nothing."

    def run(self, *, dry_run: bool, **_options: Any) -> None:
        with progress("Attaching", total=backfill.count_unattached()) as on_progress:
            done = backfill_runs.run(clock=timezone.now, dry_run=dry_run, on_progress=on_progress)
        self.answer(asdict(done), _in_words(done))
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


def _in_words(done: BackfillRun) -> str:
    if not done.attached and not done.left_out_total:
        return "Each assignment has its content: there is nothing to attach."
    if not done.attached:
        return "No assignment would be attached." if done.dry_run else "No assignment was attached."
    would = "would be " if done.dry_run else ""
    count, rows = counted_in_words(done.attached, "assignment"), counted_in_words(done.contents, "row")
    return f"{count} {would}attached, to {rows} of content."
