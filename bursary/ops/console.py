"""Output of commands: one JSON object for programs; sentences, tables and a progress bar for people."""

import json
import os
import re
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

from bursary.lib.batches import ProgressCallback
from bursary.lib.numbers import from_digits
from bursary.ops.database import NotReady, in_words, require_tables

PLAIN_WIDTH = 160  # columns, if the output is not a terminal
LEAST_WIDTH = 20  # columns: in fewer, tables would have no room for any text

_PERCENT = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?")

SETTINGS = "settings"
"""The tag of the system checks that depend on this machine's settings."""

UNSHOWN = ("--version", "--verbosity", "--settings", "--pythonpath", "--no-color", "--force-color")
"""Options of every command that are left out of the usage, so that the error below it is easy to see."""


class OperatorCommand(BaseCommand):
    """A command that prints text or, with --json, exactly one JSON object. Subclasses define `run`."""

    dry_run_help: ClassVar[str] = ""
    """The help of the option --dry-run; without it the command does not have the option."""
    needs_tables: ClassVar[bool] = True
    # The other checks are of the code, the same on every machine: `make check` runs them. They import every
    # page and the whole API, which takes longer than the work of most commands.
    requires_system_checks = (SETTINGS,)
    suppressed_base_arguments = set(UNSHOWN)
    as_json = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")
        if self.dry_run_help:
            parser.add_argument("--dry-run", action="store_true", help=self.dry_run_help)

    def handle(self, *args: Any, **options: Any) -> None:
        self.as_json = options.get("json", False)
        try:
            if self.needs_tables:
                require_tables()
        except NotReady as why:
            raise CommandError(str(why)) from why
        self.run(**options)

    def run(self, *args: Any, **options: Any) -> None:
        """Do the command's work with the parsed options. Raises CommandError."""
        raise NotImplementedError

    def answer(self, summary: Mapping[str, object], text: str) -> None:
        """Print the summary as JSON, or the text."""
        self.stdout.write(to_json(summary) if self.as_json else text)

    def rendered(self, renderable: RenderableType) -> str:
        """Return a table as text: in colour and as wide as the terminal, or plain and `PLAIN_WIDTH` wide.

        `COLUMNS` in the environment decides the width of both, from `LEAST_WIDTH` up. Lines that are not to
        be wrapped are not cut.
        """
        terminal = self.stdout.isatty()
        buffer, width = StringIO(), None if terminal or "COLUMNS" in os.environ else PLAIN_WIDTH
        console = Console(file=buffer, force_terminal=terminal, width=width, highlight=False)
        console.width = max(console.width, LEAST_WIDTH)
        console.print(renderable, crop=False)
        return buffer.getvalue().rstrip("\n")

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; report an error of the database, or a missing answer, without a stack trace."""
        try:
            return super().execute(*args, **options)
        except EOFError as error:  # Ctrl-D at a question
            raise CommandError("No answer was given. Nothing was done.") from error
        except Error as error:
            raise CommandError(in_words(error)) from error


def positive_number(text: str) -> int:
    """Return an option's value as a whole number of at least 1. Raises ArgumentTypeError."""
    found = from_digits(text, max_digits=9)
    if not found:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return found


def number(text: str) -> int:
    """Return an option's value as a whole number of at least 0. Raises ArgumentTypeError."""
    found = from_digits(text, max_digits=9)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return found


def percent(text: str) -> float:
    """Return an option's value as a percentage from 0 to 100. Raises ArgumentTypeError."""
    if not _PERCENT.fullmatch(text) or float(text) > 100:
        raise ArgumentTypeError(f"{text!r} is not a share from 0 to 100")
    return float(text)


def add_sample(parser: CommandParser, *, default: int, everything: str) -> None:
    """Add --sample N and --all, which exclude each other; `everything` is the help of --all."""
    group = parser.add_mutually_exclusive_group()
    sampled = f"Check N at random; {default} by default."
    group.add_argument("--sample", type=positive_number, metavar="N", default=default, help=sampled)
    group.add_argument("--all", action="store_true", help=everything)


def to_json(summary: Mapping[str, object]) -> str:
    """Return a summary as indented JSON, with dates and uuids as text."""
    return json.dumps(summary, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)


def counts_in_words(counts: Mapping[str, int], *, none: str) -> str:
    """Return counts as `3 done, 1 failed`; `none` if there are none."""
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or none


def counted_in_words(count: int, noun: str) -> str:
    """Return `1 mail` or `2 mails`; the noun's plural ends in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def table(*columns: str, **options: Any) -> Table:
    """Return a table that cuts no text: what is wider than its column goes on in the next line."""
    return Table(*(Column(name, overflow="fold") for name in columns), **options)


@contextmanager
def progress(description: str, *, total: int | None = None) -> Iterator[ProgressCallback]:
    """Show a progress bar on stderr if that is a terminal; yield the function that advances it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
