"""`bursary rebuild_derived`: write the assignments' derived columns anew where they are not true."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import derived_audit
from bursary.assignments.derived_audit import RebuildResult
from bursary.ops import derived_report
from bursary.ops.console import OperatorCommand, progress


class Command(OperatorCommand):
    help = (
        "Write the assignments' derived columns anew wherever they are not true. Repeating it does no harm."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--budget", type=UUID, metavar="UUID", help="Only this budget's.")
        parser.add_argument(
            "--after",
            type=int,
            default=0,
            metavar="ID",
            help="Go on after this key, where it was broken off.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count what is not true; write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.require_tables()
        try:
            budget = derived_report.budget_of(options["budget"])
        except derived_report.UnknownBudget as none:
            raise CommandError(f"There is no budget {none.uuid}.") from none
        done = RebuildResult(last=options["after"])
        try:
            with progress("Rebuilding", total=derived_audit.count(budget=budget)) as advance:
                derived_audit.rebuild(
                    clock=timezone.now,
                    budget=budget,
                    after=options["after"],
                    dry_run=options["dry_run"],
                    progress=advance,
                    into=done,
                )
        except BaseException:
            self.stderr.write(f"Broken off. Go on with: bursary rebuild_derived --after {done.last}")
            raise
        self._say(done, options)

    def _say(self, done: RebuildResult, options: dict[str, Any]) -> None:
        summary = {"dry_run": options["dry_run"], "last": done.last, **derived_report.summary(done.before)}
        summary["still_wrong"] = derived_report.summary(done.after)["differences"]
        text = derived_report.sentence(done.before)
        if done.before.wrong:
            text += " Nothing was written." if options["dry_run"] else " They were written anew."
        self.answer(summary, text, as_json=options["json"])
        if done.after.wrong:
            raise CommandError(
                f"{done.after.wrong} still are not true: the two rules disagree, which is a fault of "
                "Bursary's. Please report it with the output of --json."
            )
