"""`bursary correct_address OLD NEW`: correct addresses in open assignments."""

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from bursary.assignments import address_corrections
from bursary.assignments.address_corrections import MAX_PAIRS
from bursary.ops.console import OperatorCommand, counted_in_words

FORM = "Each line of the file is an old address, a comma and the new address."


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
            help="A file of pairs instead, in UTF-8, in two columns with a comma between them: old and new "
            "address. It may have a heading.",
        )

    def run(self, *, addresses: list[str], csv: str | None, dry_run: bool, **_options: Any) -> None:
        pairs = _pairs(addresses, csv)
        done = address_corrections.correct_pairs(pairs, now=timezone.now(), dry_run=dry_run)
        refused = sum(1 for one in done if one.reason)
        would = "would be corrected" if dry_run else "corrected"
        lines = []
        for one in done:
            corrected = f"{counted_in_words(len(one.corrected), 'assignment')} {would}."
            result = f"{one.sentence} {one.next_step}" if one.reason else corrected
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
        rows += _rows(file)
        if not rows:
            raise CommandError(f"{file} has no pair. {FORM}", returncode=2)
    if not rows:
        raise CommandError(f"Give OLD and NEW, or --csv FILE with up to {MAX_PAIRS:,} pairs.", returncode=2)
    if len(rows) > MAX_PAIRS:
        raise CommandError(
            f"These are {len(rows):,} pairs. Give up to {MAX_PAIRS:,}, and the others in other files.",
            returncode=2,
        )
    if wrong := next((row for row in rows if len(row) != 2), None):
        given = ", ".join(wrong)
        raise CommandError(f"{given}: this is no pair. {FORM if file else 'Give OLD and NEW.'}", returncode=2)
    return [(old, new) for old, new in rows]


def _rows(file: str) -> list[list[str]]:
    """Return the rows of a file that are not empty, without its heading."""
    try:
        text = Path(file).read_bytes().decode("utf-8-sig")
        if "\0" in text:  # of UTF-16 without a byte order mark
            raise ValueError
        lines = csv.reader(StringIO(text, newline=""))
        filled = [row for row in lines if any(cell.strip() for cell in row)]
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(f"{file} is not text in UTF-8. Save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise CommandError(f"{file}, line {lines.line_num}: this cannot be read. {FORM}") from error
    return filled[1:] if filled and _is_heading(filled[0]) else filled
