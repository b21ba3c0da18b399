"""`bursary forget_learner ADDRESS`: erase one learner's personal data, on request."""

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments.matching import BadAddresses
from bursary.ops import erasure_runs
from bursary.ops.console import OperatorCommand, counted_in_words


class Command(OperatorCommand):
    help = "Erase the personal data of an address everywhere; open assignments are cancelled."
    dry_run_help = "Show what would be erased; change nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("address", metavar="ADDRESS", help="Any address of the learner.")
        parser.add_argument(
            "--yes", action="store_true", help="Do not ask for confirmation. Erasing cannot be undone."
        )

    def run(self, *, address: str, dry_run: bool, yes: bool, **_options: Any) -> None:
        try:
            known, sentence = erasure_runs.preview(address)
        except BadAddresses as bad:
            raise CommandError(f"Enter a valid email address. {bad.errors[0]}", returncode=2) from bad
        if dry_run:
            return self.answer({"dry_run": True, **known}, sentence)
        if not yes:
            if self.as_json or not sys.stdin.isatty():
                without = "No terminal to ask on. Give --yes, or --dry-run to see what would be erased."
                raise CommandError(without)
            if input(f"{sentence} This cannot be undone. Type yes to continue: ").strip() != "yes":
                raise CommandError("Nothing was changed.")
        done = {"dry_run": False} | erasure_runs.forget(address, now=timezone.now())
        self.answer(done, _text(done))
        if not done["traces_removed"]:
            self.stderr.write(f"Warning: {erasure_runs.TRACES_LEFT}")
        if not done["complete"]:
            raise CommandError("Not everything is forgotten yet. Run it again in some minutes.")
        return None


def _text(done: dict[str, Any]) -> str:
    mails, links = (
        counted_in_words(done["mails_removed"], "mail"),
        counted_in_words(done["links_removed"], "link"),
    )
    lines = [
        f"{counted_in_words(done['forgotten'], 'assignment')} forgotten, {done['cancelled']} of them "
        f"cancelled; {mails}, {links} and {counted_in_words(done['accounts_anonymised'], 'account')}."
    ]
    lines += [f"Not yet {one['assignment']}: {one['detail']} {one['next_step']}" for one in done["not_yet"]]
    lines += [f"Budget {uuid} failed: {error}" for uuid, error in done["failed_budgets"].items()]
    return "\n".join(lines)
