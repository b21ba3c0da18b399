"""`bursary correct_address OLD NEW`: correct addresses in open assignments."""

import csv
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import address_corrections
from bursary.assignments.address_corrections import MAX_PAIRS
from bursary.ops.console import OperatorCommand, counted_in_words


class Command(OperatorCommand):
    help = "Move open assignments from an address to another; the new address is notified."
    dry_run_help = "Show what would be corrected; change nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "addresses", nargs="*", metavar="OLD NEW", help="The address that is wrong, and the right one."
        )
        parser.add_argument(
            "--csv",
            metavar="FILE",
            help="A file of pairs instead, in two columns: old and new address. It may have a heading.",
        )

    def run(self, *, addresses: list[str], csv: str | None, dry_run: bool, **_options: Any) -> None:
        pairs = _pairs(addresses, csv)
        done = address_corrections.correct_pairs(pairs, now=timezone.now(), dry_run=dry_run)
        refused = sum(1 for one in done if one.reason)
        would = "would be corrected" if dry_run else "corrected"
        lines = []
        for one in done:
            result = f"{one.sentence} {one.next_step}" if one.reason else f"{len(one.corrected)} {would}."
            lines.append(f"{one.old} -> {one.new}: {result}")
        self.answer({"dry_run": dry_run, "pairs": [vars(one) for one in done]}, "\n".join(lines))
        if refused:
            pairs_in_words = counted_in_words(len(done), "pair")
            raise CommandError(f"Refused {refused} of {pairs_in_words}: these are as before.")


def _is_heading(row: list[str]) -> bool:
    """Return whether no cell can be an address, not even one that lost its @."""
    return not any("@" in cell or "." in cell for cell in row)


def _pairs(addresses: list[str], file: str | None) -> list[tuple[str, str]]:
    rows = [addresses] if addresses else []
    if file:
        try:
            with Path(file).open(encoding="utf-8-sig", newline="") as lines:
                filled = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CommandError(
                f"{file} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from error
        rows += filled[1:] if filled and _is_heading(filled[0]) else filled
    if not rows or len(rows) > MAX_PAIRS:
        raise CommandError(f"Give OLD and NEW, or --csv with up to {MAX_PAIRS} pairs.", returncode=2)
    if wrong := next((row for row in rows if len(row) != 2), None):
        raise CommandError(f"A pair is two addresses: {', '.join(wrong)}", returncode=2)
    return [(old, new) for old, new in rows]
