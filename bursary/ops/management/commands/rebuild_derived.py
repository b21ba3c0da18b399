"""`bursary rebuild_derived`: rewrite the assignments' derived columns where they are wrong."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import derived_audit
from bursary.assignments.derived_audit import RebuildResult
from bursary.ops import derived_report
from bursary.ops.console import OperatorCommand, number, progress


class Command(OperatorCommand):
    help = "Rewrite the assignments' derived columns wherever they are wrong. It can be repeated."
    dry_run_help = "Count what is wrong; write nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--budget", type=UUID, metavar="UUID", help="Rewrite only this budget's assignments."
        )
        parser.add_argument(
            "--after",
            type=number,
            default=0,
            metavar="ID",
            help="Resume after the assignment with this primary key, where a run was interrupted.",
        )

    def run(self, *, dry_run: bool, after: int, **options: Any) -> None:
        budget = derived_report.budget_of(options["budget"])
        done = RebuildResult(last=after)
        try:
            with progress("Rebuilding", total=derived_audit.count(budget=budget)) as on_progress:
                derived_audit.rebuild(
                    clock=timezone.now,
                    budget=budget,
                    after=after,
                    dry_run=dry_run,
                    on_progress=on_progress,
                    into=done,
                )
        except BaseException:
            self.stderr.write(f"Interrupted. Resume with: bursary rebuild_derived --after {done.last}")
            raise
        summary = {"dry_run": dry_run, "last": done.last, **derived_report.summary(done.before)}
        summary["still_wrong"] = derived_report.summary(done.after)["differences"]
        text = derived_report.sentence(done.before)
        if done.before.wrong:
            text += " Nothing was written." if dry_run else " They were rewritten."
        self.answer(summary, text)
        if done.after.wrong:
            raise CommandError(
                f"{done.after.wrong} are still wrong: the two rules disagree, which is a bug in Bursary. "
                "Please report it with the output of --json."
            )
