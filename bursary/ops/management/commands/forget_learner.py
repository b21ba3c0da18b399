"""`bursary forget_learner ADDRESS`: erase one learner's personal data, on request."""

import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments.matching import BadAddresses
from bursary.ops import erasure_runs
from bursary.ops.console import OperatorCommand, counted_in_words

COUNTED: Mapping[str, str] = {
    "mails_removed": "mail",
    "links_removed": "link",
    "accounts_anonymised": "account",
    "mentions_removed": "other mention",
}
"""What is counted beside assignments and others' actions, with its noun."""


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
            self._ask(sentence)
        done = {"dry_run": False} | erasure_runs.forget(address, now=timezone.now())
        self.answer(done, _text(done))
        if not done["traces_removed"]:
            self.stderr.write(f"Warning: {erasure_runs.TRACES_LEFT}")
        if not done["complete"]:
            raise CommandError("Not everything is forgotten yet. Run it again in some minutes.")
        return None

    def _ask(self, sentence: str) -> None:
        """Ask for a yes. Raises CommandError without one."""
        if self.as_json or not sys.stdin.isatty():
            raise CommandError("No terminal to ask on. Give --yes, or --dry-run to see what would be erased.")
        question = "This cannot be undone. Type yes to continue: "
        if sentence == erasure_runs.NOTHING_KNOWN:
            question = "Type yes to search every text for it, and erase it there: "
        if input(f"{sentence} {question}").strip() != "yes":
            raise CommandError("Nothing was changed.")


def _text(done: dict[str, Any]) -> str:
    if done["complete"] and not any(done[name] for name in ("forgotten", "elsewhere", *COUNTED)):
        return f"{erasure_runs.NOTHING_KNOWN} Nothing was changed."
    *others, last = (counted_in_words(done[name], noun) for name, noun in COUNTED.items())
    others.insert(0, f"{counted_in_words(done['elsewhere'], 'action')} of others")
    lines = [
        f"{counted_in_words(done['forgotten'], 'assignment')} forgotten, {done['cancelled']} cancelled "
        f"first; {', '.join(others)} and {last}."
    ]
    lines += [f"Not yet {one['assignment']}: {one['detail']} {one['next_step']}" for one in done["not_yet"]]
    lines += [f"Budget {uuid} failed: {error}" for uuid, error in done["failed_budgets"].items()]
    return "\n".join(lines)
